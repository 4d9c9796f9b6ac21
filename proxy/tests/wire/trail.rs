//! What a request leaves behind: names by which it is found again, and a line in the access log.

use crate::harness::{Backend, Shop, wait_for};

#[test]
fn requests_are_named_unless_they_have_a_name() {
    let shop = Shop::of(Backend::echo(), &["--begin-traces", "unsampled"]);
    let seen = shop.get("/").text();
    let value = |name: &str| {
        let line = seen.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
        line.unwrap_or_else(|| panic!("{name} in {seen}")).to_owned()
    };
    assert_eq!(value("x-request-id").len(), 32);
    let parts: Vec<_> = value("traceparent").split('-').map(str::len).collect();
    assert_eq!(parts, [2, 32, 16, 2]);
    let own = shop.client().get("/", "X-Request-Id: mine\r\ntraceparent: 00-1-2-01\r\n").text();
    assert!(own.contains("x-request-id: mine\n") && own.contains("traceparent: 00-1-2-01\n"), "{own}");
}

#[test]
fn no_trace_is_begun_unless_told() {
    let shop = Shop::of(Backend::echo(), &[]);
    assert!(!shop.get("/").text().contains("traceparent"));
}

#[test]
fn a_client_that_is_not_trusted_is_not_believed_what_it_says_of_others() {
    let shop = Shop::of(Backend::echo(), &["--trust-forwarded", "192.0.2.0/24"]);
    let said = "x-forwarded-for: 10.0.0.9\r\nx-forwarded-proto: https\r\nforwarded: for=10.0.0.9\r\n";
    let seen = shop.client().get("/", said).text();
    assert!(seen.contains("x-forwarded-for: 127.0.0.1\n"), "{seen}");
    assert!(!seen.contains("10.0.0.9") && !seen.contains("https"), "{seen}");
}

#[test]
fn sampled_requests_are_logged_with_what_became_of_them() {
    let shop = Shop::of(Backend::named("v1"), &["--access-log", "sampled:1"]);
    shop.client().get("/a?b=\"c\"", "x-request-id: mine\r\n");
    let line = wait_for("a line", || shop.proxy.output().lines().next().map(str::to_owned));
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    let expected = [
        ("rollout", "shop"),
        ("revision", "v1"),
        ("client", "127.0.0.1"),
        ("method", "GET"),
        ("host", "shop"),
        ("target", "/a?b=\"c\""),
        ("culprit", "none"),
        ("request_id", "mine"),
    ];
    for (name, value) in expected {
        assert_eq!(line[name], value, "{name} in {line}");
    }
    assert_eq!(
        (&line["status"], &line["endpoint"]),
        (&200.into(), &format!("127.0.0.1:{}", shop.v1.port()).into())
    );
    assert!(line["latency_seconds"].as_f64() > Some(0.0) && line["duration_seconds"].as_f64() > Some(0.0));
}

#[test]
fn of_errors_alone_the_clients_own_are_left_out() {
    let oops = Backend::answering("HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n");
    let mut shop = Shop::of(oops, &["--access-log", "errors"]);
    assert_eq!(shop.get("bad").status(), 400);
    assert_eq!(shop.get("/").status(), 500);
    shop.proxy.signal("TERM");
    assert!(shop.proxy.wait_exit().success());
    let output = wait_for("a line", || Some(shop.proxy.output()).filter(|output| output.ends_with('\n')));
    assert_eq!(output.lines().count(), 1, "{output}");
    assert!(output.contains("\"culprit\":\"upstream\""), "{output}");
}
