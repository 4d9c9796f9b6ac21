//! Who gets which request, on the wire.

use std::process::Command;
use std::thread;

use crate::harness::{Backend, Client, Folder, Proxy, Shop, Split, free_port, wait_for};

#[test]
fn a_thousand_requests_over_many_connections_are_split_exactly() {
    for (v1, v2, expected) in [(90, 10, 100), (99, 1, 10), (2, 1, 333), (0, 1, 1000)] {
        let shop = Shop::open(Split::new(1, v1, v2));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let mut client = shop.client();
                    (0..125).for_each(|_| assert_eq!(client.get("/", "").status(), 200));
                });
            }
        });
        let got = shop.v2.requests();
        assert_eq!(shop.v1.requests() + got, 1000);
        assert!(got.abs_diff(expected) <= 1, "{got} of 1,000 at {v1}:{v2}");
        shop.wait_counted("v1", "2xx", "none", 1000 - got);
        shop.wait_counted("v2", "2xx", "none", got);
    }
}

#[test]
fn a_rising_weight_only_ever_adds_sticky_users() {
    let sticky = |generation, weight: u32| {
        Split::new(generation, 100 - weight, weight).annotation("penstock.dev/sticky", "header:x-user")
    };
    let shop = Shop::open(sticky(1, 0));
    let mut before = [false; 200];
    for (generation, weight) in [(2, 10), (3, 25), (4, 50), (5, 100)] {
        shop.change(&sticky(generation, weight));
        let mut client = shop.client();
        let on_canary = |client: &mut Client, user: usize| {
            client.get("/", &format!("x-user: u{user}\r\n")).text() == "v2"
        };
        for (user, was) in before.iter_mut().enumerate() {
            let now = on_canary(&mut client, user);
            assert!(now || !*was, "user {user} was sent back at {weight} %");
            assert_eq!(now, on_canary(&mut client, user), "user {user} moves without a change");
            *was = now;
        }
        let users = before.iter().filter(|on| **on).count();
        assert!(users.abs_diff(2 * weight as usize) < 30, "{users} of 200 users at {weight} %");
    }
}

#[test]
fn requests_without_a_key_go_by_turns() {
    let shop = Shop::open(Split::new(1, 50, 50).annotation("penstock.dev/sticky", "cookie:session"));
    let mut client = shop.client();
    let texts: Vec<_> = (0..10).map(|_| client.get("/", "cookie: other=1\r\n").text()).collect();
    assert_eq!(texts.iter().filter(|t| *t == "v2").count(), 5);
    let texts: Vec<_> = (0..10).map(|_| client.get("/", "cookie: a=1; session=ada\r\n").text()).collect();
    assert!(texts.iter().all(|t| *t == texts[0]));
}

#[test]
fn marked_requests_go_to_the_canary_at_any_weight() {
    let marks =
        "{matches: [{headers: [{name: x-canary, value: always}]}], backendRefs: [{name: shop-v2, port: 80}]}";
    let split = Split::new(1, 100, 0).annotation("penstock.dev/mark", "x-canary=always").and_rule(marks);
    let shop = Shop::open(split);
    let mut client = shop.client();
    assert_eq!(client.get("/", "x-canary: always\r\n").text(), "v2");
    assert_eq!(client.get("/", "x-canary: never\r\n").text(), "v1");
    let rollout = shop.proxy.rollout("shop").unwrap();
    assert_eq!(rollout.marked.as_deref(), Some("v2"));
    assert_eq!((rollout.weights["v1"], rollout.weights["v2"]), (100, 0));
}

#[test]
fn other_matches_are_told_apart() {
    let shop = Shop::open(
        Split::new(1, 100, 0)
            .and_rule("{matches: [{path: {type: PathPrefix, value: /new}}], backendRefs: [{name: shop-v2, port: 80}]}")
            .and_rule("{matches: [{path: {type: RegularExpression, value: '/u/[0-9]+'}}], backendRefs: [{name: shop-v2, port: 80}]}")
            .and_rule("{matches: [{method: DELETE}], backendRefs: [{name: shop-v2, port: 80}]}")
            .and_rule("{matches: [{queryParams: [{name: beta, value: 'on'}]}], backendRefs: [{name: shop-v2, port: 80}]}")
            .and_rule("{matches: [{path: {type: Exact, value: /nowhere}}]}"),
    );
    for (path, expected) in [
        ("/", "v1"),
        ("/new/x", "v2"),
        ("/newer", "v1"),
        ("/u/17", "v2"),
        ("/u/17/x", "v1"),
        ("/?beta=on", "v2"),
    ] {
        assert_eq!(shop.get(path).text(), expected, "{path}");
    }
    let mut client = shop.client();
    client.send("DELETE /x HTTP/1.1\r\nhost: shop\r\n\r\n");
    assert_eq!(client.response().text(), "v2");
    let response = shop.get("/nowhere");
    assert_eq!((response.status(), response.header("x-penstock-culprit")), (503, Some("proxy")));
}

#[test]
fn any_host_is_served() {
    let shop = Shop::open(Split::new(1, 100, 0));
    let mut client = shop.client();
    client.send("GET / HTTP/1.1\r\nhost: whatever.example:99\r\n\r\n");
    assert_eq!(client.response().text(), "v1");
}

#[test]
fn the_example_splits_ninety_to_ten() {
    let (v1, v2) = (Backend::named("v1"), Backend::named("v2"));
    let (folder, port) = (Folder::new(), free_port());
    let example = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/split");
    for entry in std::fs::read_dir(&example).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let text = text.replace("8080}", &format!("{port}}}"));
        let text = text.replace("port: 9001", &format!("port: {}", v1.port()));
        let text = text.replace("port: 9002", &format!("port: {}", v2.port()));
        folder.put(path.file_name().unwrap().to_str().unwrap(), &text);
    }
    let proxy = Proxy::start(&folder, &[]);
    assert!(
        proxy.first_line.contains(&format!("http://127.0.0.1:{port} (default/shop)")),
        "{}",
        proxy.first_line
    );
    let mut client = Client::connect(port);
    let canary = (0..1000).filter(|_| client.get("/", "").text() == "v2").count();
    assert_eq!(canary, 100);
    proxy.wait_no_problem();
    let check = Command::new(env!("CARGO_BIN_EXE_penstock-proxy"))
        .arg("check")
        .arg("--config")
        .arg(example)
        .output()
        .unwrap();
    assert!(check.status.success(), "{check:?}");
}

#[test]
fn all_series_of_a_revision_exist_at_zero_before_its_first_request() {
    let shop = Shop::open(Split::new(1, 100, 0).annotation("penstock.dev/latency-limits", "0.3, 0.5,1.5"));
    for revision in ["v1", "v2"] {
        for code in ["1xx", "2xx", "3xx", "4xx", "5xx", "none"] {
            for culprit in ["none", "client", "upstream", "proxy"] {
                assert_eq!(shop.counted(revision, code, culprit), 0);
            }
        }
        let labels = [("revision", revision), ("namespace", "default"), ("rollout", "shop")];
        for name in [
            "penstock_requests_in_flight",
            "penstock_request_latency_seconds_count",
            "penstock_fallovers_total",
        ] {
            assert_eq!(shop.proxy.metric(name, &labels), Some(0.0), "{name}");
        }
        for edge in ["0.001", "0.3", "0.5", "1.5", "30", "+Inf"] {
            let labels = [("revision", revision), ("le", edge)];
            assert_eq!(
                shop.proxy.metric("penstock_request_latency_seconds_bucket", &labels),
                Some(0.0),
                "{edge}"
            );
        }
    }
    assert_eq!(shop.proxy.metric("penstock_split_generation", &[("rollout", "shop")]), Some(1.0));
    assert_eq!(shop.proxy.metric("penstock_split_weight_percent", &[("revision", "v1")]), Some(100.0));
}

#[test]
fn a_revision_without_endpoints_gives_its_share_to_the_other() {
    let shop = Shop::open(Split::new(1, 50, 50));
    shop.folder.endpoints("shop-v2", &[]);
    wait_for("v2 has no endpoint", || (shop.proxy.rollout("shop")?.endpoints["v2"] == 0).then_some(()));
    let mut client = shop.client();
    assert!((0..100).all(|_| client.get("/", "").text() == "v1"));
    assert_eq!(shop.proxy.metric("penstock_fallovers_total", &[("revision", "v2")]), Some(50.0));
    shop.folder.endpoints("shop-v1", &[]);
    wait_for("v1 has no endpoint", || (shop.proxy.rollout("shop")?.endpoints["v1"] == 0).then_some(()));
    let response = client.get("/", "");
    assert_eq!((response.status(), response.header("x-penstock-culprit")), (503, Some("proxy")));
}
