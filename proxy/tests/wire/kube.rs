//! A namespace of a cluster in place of a folder, with an API server that fails to order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{ApiServer, Backend, Client, Fault, Proxy, free_port, get, wait_for};

const ROUTES: &str = "httproutes";
const SLICES: &str = "endpointslices";
const SERVICES: &str = "services";

/// A Rollout `shop` on an API server, and its backends.
struct Shop {
    server: ApiServer,
    v1: Backend,
    _v2: Backend,
    port: u16,
}

impl Shop {
    fn new(server: ApiServer) -> Shop {
        let (v1, v2, port) = (Backend::named("v1"), Backend::named("v2"), free_port());
        server.put(SERVICES, service("shop", port));
        server.put(SERVICES, service("shop-v1", 9001));
        server.put(SERVICES, service("shop-v2", 9002));
        server.put(SLICES, slice("shop-v1", &[v1.port()]));
        server.put(SLICES, slice("shop-v2", &[v2.port()]));
        server.put(ROUTES, route("shop", 1, 100, 0));
        Shop { server, v1, _v2: v2, port }
    }

    fn proxy(&self, args: &[&str]) -> Proxy {
        Proxy::of_cluster(&self.server.kubeconfig(), args)
    }

    /// A proxy that has the first table and watches.
    fn ready(&self) -> Proxy {
        let proxy = self.proxy(&[]);
        wait_ready(&proxy);
        wait_for("it watches", || {
            [ROUTES, SLICES, SERVICES]
                .iter()
                .all(|r| self.server.asked(r).iter().any(|a| a.is_watch()))
                .then_some(())
        });
        proxy
    }

    /// A client that asks all the time, and fails the test if anything but 200 comes.
    fn traffic(&self) -> Traffic {
        let (port, over) = (self.port, Arc::<AtomicBool>::default());
        let stop = Arc::clone(&over);
        let asking = thread::spawn(move || {
            let (mut client, mut served) = (Client::connect(port), 0);
            while !stop.load(Ordering::SeqCst) {
                assert_eq!(client.get("/", "").status(), 200);
                served += 1;
            }
            served
        });
        Traffic { over, asking }
    }
}

struct Traffic {
    over: Arc<AtomicBool>,
    asking: JoinHandle<u64>,
}

impl Traffic {
    /// How many requests were served.
    fn end(self) -> u64 {
        self.over.store(true, Ordering::SeqCst);
        self.asking.join().unwrap()
    }
}

fn service(name: &str, target: u16) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"ports": [{"name": "http", "port": 80, "targetPort": target}]}})
}

fn slice(service: &str, ports: &[u16]) -> Value {
    let endpoints: Vec<Value> = ports.iter().map(|_| json!({"addresses": ["127.0.0.1"]})).collect();
    let port = ports.first().copied().unwrap_or(1);
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": format!("{service}-x"), "labels": {"kubernetes.io/service-name": service}},
        "ports": [{"name": "http", "port": port}], "endpoints": endpoints})
}

fn route(name: &str, generation: u64, v1: u32, v2: u32) -> Value {
    let backend = |revision: &str, weight: u32| json!({"name": format!("shop-{revision}"), "port": 80, "weight": weight});
    json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"name": name, "labels": {"penstock.dev/rollout": name},
            "annotations": {"penstock.dev/generation": generation.to_string()}},
        "spec": {"parentRefs": [{"group": "", "kind": "Service", "name": name, "port": 80}],
            "rules": [{"backendRefs": [backend("v1", v1), backend("v2", v2)]}]}})
}

fn ready(proxy: &Proxy) -> bool {
    get(proxy.admin, "/readyz").status() == 200
}

fn wait_ready(proxy: &Proxy) {
    wait_for(&format!("it is ready: {}", proxy.log()), || ready(proxy).then_some(()));
}

#[test]
fn routes_endpoints_and_services_are_followed() {
    let shop = Shop::new(ApiServer::start());
    let proxy = shop.ready();
    assert_eq!(get(shop.port, "/").text(), "v1");
    shop.server.put(ROUTES, route("shop", 2, 0, 100));
    proxy.wait_generation("shop", 2);
    assert_eq!(get(shop.port, "/").text(), "v2");
    let other = Backend::named("other");
    shop.server.put(SLICES, slice("shop-v2", &[other.port()]));
    wait_for("the new endpoint", || (get(shop.port, "/").text() == "other").then_some(()));
    let port = free_port();
    shop.server.put(SERVICES, service("shop", port));
    wait_for("the new port", || {
        (proxy.rollout("shop")?.listen? == format!("127.0.0.1:{port}")).then_some(())
    });
    shop.server.delete(ROUTES, "shop");
    wait_for("the route is gone", || proxy.rollout("shop").is_none().then_some(()));
    assert_eq!(proxy.status().problems, Vec::<String>::new());
}

#[test]
fn routes_of_others_are_neither_served_nor_a_problem() {
    let shop = Shop::new(ApiServer::start());
    let mut foreign = route("gateway", 1, 50, 50);
    foreign["metadata"]["labels"] = json!({"app": "gateway"});
    foreign["spec"]["rules"][0]["filters"] = json!([{"type": "NoSuchFilter"}]);
    shop.server.put(ROUTES, foreign.clone());
    let mut mirrored = slice("other", &[1]);
    mirrored["metadata"]["labels"] = json!({});
    shop.server.put(SLICES, mirrored);
    let proxy = shop.ready();
    shop.server.put(ROUTES, foreign);
    shop.server.put(ROUTES, route("shop", 2, 0, 100));
    proxy.wait_generation("shop", 2);
    let status = proxy.status();
    assert_eq!((status.rollouts.len(), status.problems), (1, Vec::new()));
}

#[test]
fn it_is_ready_when_all_kinds_have_been_read() {
    let shop = Shop::new(ApiServer::start());
    shop.server.fault(SLICES, Fault::Silence);
    let proxy = shop.proxy(&[]);
    wait_for("routes and Services are watched", || {
        [ROUTES, SERVICES].iter().all(|r| shop.server.asked(r).iter().any(|a| a.is_watch())).then_some(())
    });
    assert!(!ready(&proxy));
    assert_eq!(proxy.status().rollouts.len(), 0, "no table without endpoints");
    shop.server.fault(SLICES, Fault::None);
    wait_ready(&proxy);
    assert_eq!(get(shop.port, "/").text(), "v1");
}

#[test]
fn a_watch_that_breaks_off_goes_on_where_it_was() {
    let shop = Shop::new(ApiServer::start());
    let proxy = shop.ready();
    let traffic = shop.traffic();
    for generation in 2..6 {
        shop.server.cut();
        shop.server.put(ROUTES, route("shop", generation, 50, 50));
        proxy.wait_generation("shop", generation);
    }
    assert!(traffic.end() > 0);
    assert_eq!(
        [ROUTES, SLICES, SERVICES].map(|r| shop.server.lists(r)),
        [1, 1, 1],
        "nothing is listed again"
    );
    assert!(!proxy.log().contains("WARN"), "{}", proxy.log());
}

#[test]
fn a_bookmark_is_where_the_next_watch_begins() {
    let shop = Shop::new(ApiServer::start());
    let _proxy = shop.ready();
    let version = shop.server.bookmark(SERVICES).to_string();
    wait_for("a watch from the bookmark", || {
        shop.server.cut();
        thread::sleep(std::time::Duration::from_millis(50));
        let asked = shop.server.asked(SERVICES);
        asked.iter().any(|a| a.parameter("resourceVersion") == Some(&version)).then_some(())
    });
    assert_eq!(shop.server.lists(SERVICES), 1);
}

#[test]
fn what_has_expired_is_listed_again_without_an_empty_table_in_between() {
    let shop = Shop::new(ApiServer::start());
    let proxy = shop.ready();
    let traffic = shop.traffic();
    for generation in 2..5 {
        shop.server.fault(SLICES, Fault::HalfList);
        shop.server.expire();
        wait_for("half a list has come", || {
            shop.server.asked(SLICES).last()?.parameter("continue").map(drop)
        });
        assert_eq!(proxy.rollout("shop").unwrap().endpoints["v1"], 1);
        shop.server.fault(SLICES, Fault::None);
        shop.server.put(ROUTES, route("shop", generation, 50, 50));
        proxy.wait_generation("shop", generation);
    }
    assert!(traffic.end() > 0);
    assert!(!proxy.log().contains("WARN"), "{}", proxy.log());
}

#[test]
fn what_was_deleted_meanwhile_is_gone_after_the_new_list() {
    let shop = Shop::new(ApiServer::start());
    shop.server.put(SLICES, {
        let mut extra = slice("shop-v1", &[1]);
        extra["metadata"]["name"] = "extra".into();
        extra
    });
    let proxy = shop.ready();
    assert_eq!(proxy.rollout("shop").unwrap().endpoints["v1"], 2);
    shop.server.stop();
    shop.server.delete(SLICES, "extra");
    shop.server.expire();
    shop.server.start_again();
    wait_for("it is gone", || (proxy.rollout("shop")?.endpoints["v1"] == 1).then_some(()));
}

#[test]
fn a_list_that_expires_between_its_pages_begins_anew() {
    let shop = Shop::new(ApiServer::start());
    shop.server.fault(SLICES, Fault::ExpiredList);
    let proxy = shop.proxy(&[]);
    wait_for("it has tried twice", || (shop.server.lists(SLICES) >= 4).then_some(()));
    assert!(!ready(&proxy));
    shop.server.fault(SLICES, Fault::None);
    wait_ready(&proxy);
}

#[test]
fn an_expired_token_is_read_again() {
    let shop = Shop::new(ApiServer::start());
    let proxy = shop.ready();
    shop.server.token("second");
    shop.server.cut();
    proxy.wait_problem(&["does not know who asks (401", "nothing changes until then"]);
    assert_eq!(get(shop.port, "/").text(), "v1");
    assert!(ready(&proxy));
    shop.server.write_token("second");
    proxy.wait_no_problem();
    shop.server.put(ROUTES, route("shop", 2, 0, 100));
    proxy.wait_generation("shop", 2);
}

#[test]
fn a_missing_right_is_named_once_and_may_come_late() {
    let shop = Shop::new(ApiServer::start());
    shop.server.fault(SLICES, Fault::Status(403));
    let proxy = shop.proxy(&[]);
    let problem =
        proxy.wait_problem(&["right to list and watch endpointslices", "discovery.k8s.io", "namespace shop"]);
    assert!(problem.contains("nothing changes until then"), "{problem}");
    let tried = shop.server.asked(SLICES).len();
    wait_for("it is tried again", || (shop.server.asked(SLICES).len() > tried + 2).then_some(()));
    assert_eq!(proxy.log().matches("right to list and watch").count(), 1, "{}", proxy.log());
    assert!(!ready(&proxy));
    shop.server.fault(SLICES, Fault::None);
    wait_ready(&proxy);
    proxy.wait_no_problem();
}

#[test]
fn a_right_to_watch_that_is_taken_away_stops_nothing() {
    let shop = Shop::new(ApiServer::start());
    let proxy = shop.ready();
    shop.server.fault(ROUTES, Fault::WatchStatus(403));
    shop.server.cut();
    proxy.wait_problem(&["right to list and watch httproutes", "nothing changes until then"]);
    assert_eq!(get(shop.port, "/").text(), "v1");
    shop.server.put(ROUTES, route("shop", 2, 0, 100));
    shop.server.fault(ROUTES, Fault::None);
    proxy.wait_generation("shop", 2);
    proxy.wait_no_problem();
}

#[test]
fn a_cluster_without_httproutes_is_told_what_to_install() {
    let shop = Shop::new(ApiServer::start());
    shop.server.fault(ROUTES, Fault::Status(404));
    let proxy = shop.proxy(&[]);
    proxy.wait_problem(&["httproutes.gateway.networking.k8s.io", "install the CRDs of the Gateway API"]);
    assert!(!ready(&proxy));
    shop.server.fault(ROUTES, Fault::None);
    wait_ready(&proxy);
    assert_eq!(get(shop.port, "/").text(), "v1");
}

#[test]
fn an_api_server_that_comes_late_is_waited_for() {
    let shop = Shop::new(ApiServer::absent());
    let proxy = shop.proxy(&[]);
    proxy.wait_problem(&["can't be reached", "Connection refused", "nothing changes until then"]);
    assert!(!ready(&proxy));
    assert_eq!(get(proxy.admin, "/healthz").status(), 200);
    shop.server.start_again();
    wait_ready(&proxy);
    proxy.wait_no_problem();
    assert_eq!(proxy.log().matches("can't be reached").count(), 1, "{}", proxy.log());
}

#[test]
fn without_an_api_server_all_goes_on() {
    let shop = Shop::new(ApiServer::start());
    let proxy = shop.ready();
    let traffic = shop.traffic();
    shop.server.stop();
    proxy.wait_problem(&["can't be reached", "nothing changes until then"]);
    assert!(ready(&proxy), "it serves what it has");
    let before = shop.v1.requests();
    wait_for("traffic flows", || (shop.v1.requests() > before + 100).then_some(()));
    shop.server.put(ROUTES, route("shop", 2, 50, 50));
    shop.server.start_again();
    proxy.wait_generation("shop", 2);
    proxy.wait_no_problem();
    assert!(traffic.end() > 100);
    assert_eq!(
        [ROUTES, SLICES, SERVICES].map(|r| shop.server.lists(r)),
        [1, 1, 1],
        "nothing is listed again"
    );
}

/// A slice of `shop` itself, by which clients find the proxy.
fn way_in(ready: bool, terminating: bool) -> Value {
    let mut slice = slice("shop", &[1]);
    slice["endpoints"] = json!([
        {"addresses": ["127.0.0.3"]},
        {"addresses": ["127.0.0.2"], "conditions": {"ready": ready, "terminating": terminating}},
    ]);
    slice
}

const OWN: [&str; 4] = ["--own-addresses", "::2,127.0.0.2", "--drain-delay", "0s"];

#[test]
fn a_proxy_that_goes_serves_as_long_as_a_slice_leads_to_it() {
    for over in [way_in(false, true), way_in(false, false), way_in(true, true)] {
        let shop = Shop::new(ApiServer::start());
        shop.server.put(SLICES, way_in(true, false));
        let mut proxy = shop.proxy(&OWN);
        wait_ready(&proxy);
        proxy.signal("TERM");
        wait_for("it drains", || (get(proxy.admin, "/readyz").status() == 503).then_some(()));
        // Longer than it takes to look again.
        let until = Instant::now() + Duration::from_millis(1500);
        while Instant::now() < until {
            assert_eq!(get(shop.port, "/").status(), 200);
            thread::sleep(Duration::from_millis(50));
        }
        shop.server.put(SLICES, over);
        assert!(proxy.wait_exit().success());
        assert!(!proxy.log().contains("still lead here"), "{}", proxy.log());
    }
}

#[test]
fn a_slice_that_never_lets_go_is_waited_for_no_longer_than_told() {
    let shop = Shop::new(ApiServer::start());
    shop.server.put(SLICES, way_in(true, false));
    let mut proxy = shop.proxy(&[&OWN[..], &["--drain-wait", "2s"]].concat());
    wait_ready(&proxy);
    proxy.signal("TERM");
    assert!(proxy.wait_exit().success());
    assert!(proxy.log().contains("EndpointSlices still lead here"), "{}", proxy.log());
}

#[test]
fn an_api_server_that_says_nothing_is_named() {
    let shop = Shop::new(ApiServer::start());
    shop.server.fault(SERVICES, Fault::Silence);
    let proxy = shop.proxy(&[]);
    proxy.wait_problem(&["does not answer", "nothing changes until then"]);
    shop.server.fault(SERVICES, Fault::None);
    wait_ready(&proxy);
}

#[test]
fn an_overloaded_api_server_is_asked_less_and_less_often() {
    let shop = Shop::new(ApiServer::start());
    let proxy = shop.ready();
    let before = shop.server.asked(ROUTES).len();
    shop.server.fault(ROUTES, Fault::Status(429));
    shop.server.cut();
    proxy.wait_problem(&["refuses to list or watch httproutes (429"]);
    wait_for("some attempts", || (shop.server.asked(ROUTES).len() >= before + 5).then_some(()));
    let gaps = gaps(&shop.server, before);
    assert!(gaps[..4].iter().sum::<u128>() >= 1000, "{gaps:?}");
    assert_eq!(shop.server.lists(ROUTES), 1, "and not for lists");
}

#[test]
fn watches_that_end_at_once_are_not_asked_for_at_once() {
    let shop = Shop::new(ApiServer::start());
    shop.server.fault(ROUTES, Fault::ShortWatches);
    let _proxy = shop.ready();
    wait_for("some attempts", || (shop.server.asked(ROUTES).len() >= 6).then_some(()));
    let gaps = gaps(&shop.server, 1);
    assert!(gaps[..4].iter().sum::<u128>() >= 1000, "{gaps:?}");
    assert_eq!(shop.server.lists(ROUTES), 1);
}

/// Milliseconds between requests for routes, from one of them on. Their sum is what a busy machine makes longer only:
/// one alone is short when the one before was noticed late.
fn gaps(server: &ApiServer, from: usize) -> Vec<u128> {
    let asked = server.asked(ROUTES);
    asked[from..].windows(2).map(|pair| (pair[1].at - pair[0].at).as_millis()).collect()
}

#[test]
fn an_object_that_breaks_keeps_its_last_good_state() {
    let shop = Shop::new(ApiServer::start());
    let proxy = shop.ready();
    let mut broken = route("shop", 2, 0, 100);
    broken["spec"]["rules"][0]["backendRefs"][0]["weight"] = "much".into();
    shop.server.put(ROUTES, broken);
    proxy.wait_problem(&["HTTPRoute shop/shop: spec.rules[0].backendRefs[0].weight: ", "last good state"]);
    let mut older = route("shop", 0, 0, 100);
    shop.server.put(ROUTES, older.clone());
    proxy.wait_problem(&["HTTPRoute shop/shop: metadata.annotations[penstock.dev/generation]: 0 is older"]);
    older["spec"]["rules"] = json!([]);
    shop.server.put(ROUTES, older);
    proxy.wait_problem(&["HTTPRoute shop/shop: spec.rules: "]);
    assert_eq!((get(shop.port, "/").text().as_str(), proxy.rollout("shop").unwrap().generation), ("v1", 1));
    shop.server.put(ROUTES, route("shop", 3, 0, 100));
    proxy.wait_generation("shop", 3);
    proxy.wait_no_problem();
}

#[test]
fn a_rollouts_port_may_stand_on_its_route() {
    let shop = Shop::new(ApiServer::start());
    let proxy = shop.ready();
    let (port, mut named) = (free_port(), route("shop", 2, 100, 0));
    named["metadata"]["annotations"]["penstock.dev/listen"] = port.to_string().into();
    shop.server.put(ROUTES, named);
    wait_for("the new port", || {
        (proxy.rollout("shop")?.listen? == format!("127.0.0.1:{port}")).then_some(())
    });
    assert_eq!(get(port, "/").text(), "v1");
}

#[test]
fn a_signal_reads_everything_again() {
    let shop = Shop::new(ApiServer::start());
    let proxy = shop.ready();
    let traffic = shop.traffic();
    proxy.signal("HUP");
    wait_for("everything is listed again", || {
        [ROUTES, SLICES, SERVICES].iter().all(|r| shop.server.lists(r) == 2).then_some(())
    });
    assert!(traffic.end() > 0);
    assert!(ready(&proxy));
}

#[test]
fn a_namespace_of_its_own_is_all_that_is_asked_for() {
    let shop = Shop::new(ApiServer::start());
    let _proxy = shop.ready();
    for resource in [ROUTES, SLICES, SERVICES] {
        for asked in shop.server.asked(resource) {
            assert!(asked.target.contains("/namespaces/shop/"), "{asked:?}");
        }
    }
}
