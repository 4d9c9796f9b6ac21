//! Files change while requests flow.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Backend, Client, Folder, Proxy, Shop, Split, free_port, get, wait_for};

#[test]
fn no_request_is_lost_while_splits_and_endpoints_change() {
    let shop = Shop::open(Split::new(1, 100, 0));
    let more = [Backend::named("v2"), Backend::named("v2")];
    let (over, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = shop.client();
                while !over.load(Ordering::Relaxed) {
                    let response = client.get("/", "");
                    assert_eq!(response.status(), 200, "{}", response.text());
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for generation in 2..40 {
            let ports = [shop.v2.port(), more[0].port(), more[1].port()];
            shop.folder.endpoints("shop-v2", &ports[..1 + generation as usize % 3]);
            let weight = generation as u32 * 7 % 101;
            shop.change(&Split::new(generation, 100 - weight, weight));
        }
        over.store(true, Ordering::Relaxed);
    });
    let sent = sent.into_inner();
    wait_for(&format!("{sent} requests are counted"), || {
        (shop.counted("v1", "2xx", "none") + shop.counted("v2", "2xx", "none") == sent).then_some(())
    });
}

#[test]
fn a_changed_file_is_in_effect_within_a_fraction_of_a_second() {
    let shop = Shop::open(Split::new(1, 100, 0));
    let mut times: Vec<Duration> = (2..12)
        .map(|generation| {
            let begun = Instant::now();
            shop.change(&Split::new(generation, 100, 0));
            begun.elapsed()
        })
        .collect();
    times.sort_unstable();
    println!("a change takes {:?} in the middle", times[5]);
    assert!(times[5] < Duration::from_millis(500), "only the slow poll has seen it: {times:?}");
}

#[test]
fn after_the_report_nothing_begins_by_the_old_split() {
    let shop = Shop::open(Split::new(1, 0, 100));
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = shop.client();
                while !over.load(Ordering::Relaxed) {
                    assert_eq!(client.get("/", "").status(), 200);
                }
            });
        }
        for generation in (2..30).step_by(2) {
            shop.folder.route(&Split::new(generation, 100, 0).port(shop.port));
            wait_for("v2 is left", || {
                let rollout = shop.proxy.rollout("shop")?;
                (rollout.generation == generation && rollout.in_flight["v2"] == 0).then_some(())
            });
            let reached = shop.v2.requests();
            let before = shop.v1.requests();
            wait_for("more requests", || (shop.v1.requests() > before + 100).then_some(()));
            assert_eq!(shop.v2.requests(), reached, "a request came after the report");
            shop.change(&Split::new(generation + 1, 0, 100));
        }
        over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn requests_in_flight_to_a_revision_that_has_left_are_reported() {
    let (gate, open) = gate();
    let slow = Backend::doing(move |_, client| {
        wait_for("the gate opens", || open.load(Ordering::SeqCst).then_some(()));
        client.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nv2");
        true
    });
    let shop = Shop::with(Split::new(1, 0, 100), Backend::named("v1"), slow, &[]);
    let mut client = shop.client();
    client.send("GET / HTTP/1.1\r\nhost: shop\r\n\r\n");
    wait_for("it is in flight", || (shop.proxy.rollout("shop")?.in_flight["v2"] == 1).then_some(()));
    let without = Split::new(2, 100, 0).port(shop.port).yaml();
    let without: Vec<_> = without.lines().filter(|line| !line.contains("shop-v2")).collect();
    shop.folder.put("route.yaml", &without.join("\n"));
    let rollout = shop.proxy.wait_generation("shop", 2);
    assert_eq!(rollout.in_flight.get("v2"), Some(&1));
    gate.store(true, Ordering::SeqCst);
    assert_eq!(client.response().text(), "v2");
    wait_for("it has ended", || {
        let flight = shop.proxy.rollout("shop")?.in_flight;
        (flight.get("v2").copied().unwrap_or(0) == 0).then_some(())
    });
    assert_eq!(shop.counted("v2", "2xx", "none"), 1, "its series live on");
}

fn gate() -> (std::sync::Arc<AtomicBool>, std::sync::Arc<AtomicBool>) {
    let gate = std::sync::Arc::<AtomicBool>::default();
    (gate.clone(), gate)
}

#[test]
fn a_lower_generation_is_refused_and_reported() {
    let shop = Shop::open(Split::new(7, 100, 0));
    shop.folder.route(&Split::new(6, 0, 100).port(shop.port));
    let problem = shop.proxy.wait_problem(&["6 is older than 7"]);
    assert!(
        problem
            .starts_with("route.yaml: HTTPRoute default/shop: metadata.annotations[penstock.dev/generation]")
    );
    assert_eq!(shop.get("/").text(), "v1");
    shop.folder.remove("route.yaml");
    shop.folder.route(&Split::new(6, 0, 100).port(shop.port));
    shop.proxy.wait_problem(&["6 is older than 7"]);
    assert_eq!(shop.get("/").text(), "v1");
    shop.change(&Split::new(8, 0, 100));
    shop.proxy.wait_no_problem();
    assert_eq!(shop.get("/").text(), "v2");
}

#[test]
fn a_half_written_file_changes_nothing_and_is_named_once() {
    let shop = Shop::open(Split::new(1, 100, 0));
    let yaml = Split::new(2, 0, 100).port(shop.port).yaml();
    let halves = [
        yaml[..yaml.len() / 2].replace("rules:", "rules: ["),
        String::new(),
        yaml.replace("weight: 100", "weight: all"),
    ];
    for half in &halves {
        fs::write(shop.folder.file("route.yaml"), half).unwrap();
        shop.proxy.wait_problem(&["route.yaml", "stay"]);
        assert_eq!(shop.get("/").text(), "v1", "{half}");
    }
    let problem = shop.proxy.wait_problem(&["spec.rules[0].backendRefs[1].weight"]);
    thread::sleep(Duration::from_millis(1200));
    assert_eq!(shop.proxy.log().matches(&problem).count(), 1, "{}", shop.proxy.log());
    fs::write(shop.folder.file("route.yaml"), yaml).unwrap();
    shop.proxy.wait_generation("shop", 2);
    shop.proxy.wait_no_problem();
    assert_eq!(shop.get("/").text(), "v2");
}

#[test]
fn a_file_that_is_written_slowly_is_read_when_it_is_whole() {
    use std::io::Write;
    let shop = Shop::open(Split::new(1, 100, 0));
    for generation in 2.. {
        let yaml = Split::new(generation, 0, 100).port(shop.port).yaml();
        let before = shop.proxy.log().len();
        let mut file = fs::File::create(shop.folder.file("route.yaml")).unwrap();
        let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
        for part in yaml.as_bytes().chunks(40) {
            file.write_all(part).unwrap();
            longest = longest.max(last.elapsed());
            last = Instant::now();
            thread::sleep(Duration::from_millis(5));
        }
        drop(file);
        shop.proxy.wait_generation("shop", generation);
        // A writer that was held up itself has left half a file for so long that it had to be told.
        if longest < Duration::from_millis(25) {
            let log = shop.proxy.log();
            return assert!(!log[before..].contains("WARN"), "{log}");
        }
    }
}

#[test]
fn a_misspelt_field_is_named() {
    let shop = Shop::open(Split::new(1, 100, 0));
    let yaml = Split::new(2, 100, 0).field("filter: []").port(shop.port).yaml();
    shop.folder.put("route.yaml", &yaml);
    shop.proxy.wait_problem(&["route.yaml: HTTPRoute default/shop: spec.rules.0.filter: is no known field"]);
    shop.proxy.wait_generation("shop", 2);
}

#[test]
fn a_port_in_use_is_named_and_tried_again() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let v1 = Backend::named("v1");
    let folder = Folder::new();
    folder.endpoints("shop-v1", &[v1.port()]);
    folder.route(&Split::new(1, 100, 0).port(port));
    let other = free_port();
    let yaml = Split::new(1, 100, 0).port(other).yaml().replace("name: shop\n", "name: stall\n");
    folder.put("stall.yaml", &yaml);
    let proxy = Proxy::start(&folder, &[]);
    let problem = proxy.wait_problem(&[
        "HTTPRoute default/shop",
        &format!("port {port} is in use"),
        "choose another port",
    ]);
    assert!(problem.starts_with("route.yaml: "));
    assert_eq!(proxy.rollout("shop").unwrap().listen, None);
    assert_eq!(get(other, "/").text(), "v1", "everything else goes on");
    drop(taken);
    wait_for("the port is opened", || proxy.rollout("shop")?.listen);
    assert_eq!(get(port, "/").text(), "v1");
    proxy.wait_no_problem();
}

#[test]
fn of_two_routes_with_one_port_the_first_keeps_it() {
    let shop = Shop::open(Split::new(1, 100, 0));
    let yaml = Split::new(1, 0, 100).port(shop.port).yaml().replace("name: shop\n", "name: stall\n");
    shop.folder.put("a-stall.yaml", &yaml);
    shop.proxy
        .wait_problem(&["a-stall.yaml: HTTPRoute default/stall", &format!("port {} belongs to", shop.port)]);
    assert_eq!(shop.get("/").text(), "v1");
}

#[test]
fn the_parent_services_target_port_is_served() {
    let shop = Shop::open(Split::new(1, 100, 0));
    let port = free_port();
    let old = shop.port;
    shop.folder.put(
        "service.json",
        &format!(
            r#"{{"apiVersion":"v1","kind":"Service","metadata":{{"name":"shop"}},
               "spec":{{"ports":[{{"port":{old},"targetPort":{port}}}]}}}}"#
        ),
    );
    let address = format!("127.0.0.1:{port}");
    wait_for("the port moves", || (shop.proxy.rollout("shop")?.listen? == address).then_some(()));
    assert_eq!(get(port, "/").text(), "v1");
}

#[test]
fn a_removed_route_is_closed_after_a_while() {
    let shop = Shop::open(Split::new(1, 100, 0));
    shop.folder.remove("route.yaml");
    wait_for("it is gone", || shop.proxy.rollout("shop").is_none().then_some(()));
    // The workers let go of it a moment after the table has.
    wait_for("its port is closed", || {
        std::net::TcpStream::connect(("127.0.0.1", shop.port)).is_err().then_some(())
    });
}

#[test]
fn sighup_reads_the_folder_again() {
    let shop = Shop::open(Split::new(1, 100, 0));
    shop.folder.route(&Split::new(2, 0, 100).port(shop.port));
    shop.proxy.signal("HUP");
    shop.proxy.wait_generation("shop", 2);
}

#[test]
fn many_rollouts_are_served_side_by_side() {
    let v1 = Backend::named("v1");
    let folder = Folder::new();
    folder.endpoints("shop-v1", &[v1.port()]);
    let ports: Vec<u16> = (0..20).map(|_| free_port()).collect();
    for (i, port) in ports.iter().enumerate() {
        let yaml = Split::new(i as u64, 100, 0)
            .port(*port)
            .yaml()
            .replace("name: shop\n", &format!("name: stall-{i}\n"));
        folder.put(&format!("stall-{i}.yaml"), &yaml);
    }
    let proxy = Proxy::start(&folder, &[]);
    for (i, port) in ports.iter().enumerate() {
        assert_eq!(Client::connect(*port).get("/", "").text(), "v1");
        assert_eq!(proxy.rollout(&format!("stall-{i}")).unwrap().generation, i as u64);
    }
}
