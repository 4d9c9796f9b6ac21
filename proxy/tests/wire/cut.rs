//! Networks that are cut: nothing refuses, nothing answers.

use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Backend, Folder, Proxy, Shop, Split, wait_for};

/// An address of this machine that a test can cut off.
const FAR: &str = "198.18.0.2";
const MARK: &str = "PENSTOCK_TEST_NETWORK";

/// Runs a test once more in a network of its own, and tells the one that runs there to go on.
fn in_own_network(test: &str) -> bool {
    if std::env::var_os(MARK).is_some() {
        run("ip", &["link", "set", "lo", "up"]);
        run("ip", &["address", "add", FAR, "dev", "lo"]);
        return true;
    }
    let possible = Command::new("unshare").args(["-rn", "nft", "list", "tables"]).output();
    if !possible.is_ok_and(|output| output.status.success()) {
        let reason =
            format!("{test} is left out: it needs unshare, nft and the right to make a network namespace");
        assert!(std::env::var("CI").is_err(), "{reason}");
        println!("{reason}");
        return false;
    }
    let mut again = Command::new("unshare");
    again.arg("-rn").arg(std::env::current_exe().unwrap()).args([test, "--exact", "--nocapture"]);
    assert!(again.env(MARK, "own").status().unwrap().success(), "see above");
    false
}

fn run(program: &str, args: &[&str]) {
    assert!(Command::new(program).args(args).status().unwrap().success(), "{program} {args:?}");
}

fn cut() {
    run("nft", &["add table inet cut; add chain inet cut in { type filter hook input priority 0; }"]);
    run("nft", &["add", "rule", "inet", "cut", "in", "ip", "daddr", FAR, "drop"]);
}

fn restore() {
    run("nft", &["delete", "table", "inet", "cut"]);
}

/// A Rollout with an endpoint here and one far away.
struct Farm {
    near: Backend,
    far: Backend,
    _folder: Folder,
    proxy: Proxy,
    port: u16,
}

impl Farm {
    fn open() -> Farm {
        let Shop { v1: near, folder, proxy, port, .. } = Shop::open(Split::new(1, 100, 0));
        let far = Backend::at(FAR.parse::<IpAddr>().unwrap(), "far");
        let slice = |address: SocketAddr| {
            format!(
                "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: \"{address}\", \
                 labels: {{kubernetes.io/service-name: shop-v1}}}}\naddressType: IPv4\n\
                 ports: [{{port: {}}}]\nendpoints: [{{addresses: [{}]}}]\n---\n",
                address.port(),
                address.ip()
            )
        };
        let here = SocketAddr::from(([127, 0, 0, 1], near.port()));
        let there = SocketAddr::new(FAR.parse().unwrap(), far.port());
        folder.put("shop-v1.yaml", &(slice(here) + &slice(there)));
        wait_for("two endpoints", || (proxy.rollout("shop")?.endpoints["v1"] == 2).then_some(()));
        Farm { near, far, _folder: folder, proxy, port }
    }

    /// Clients that send `request` until told to stop, and count answers that are not 200, and slow ones.
    fn traffic(&self, request: &'static str) -> Traffic {
        let stop = Arc::<AtomicBool>::default();
        let ask = |port, stop: Arc<AtomicBool>| {
            let mut client = crate::harness::Client::connect(port);
            let mut counts = Counts::default();
            while !stop.load(Ordering::SeqCst) {
                let begun = Instant::now();
                client.send(request);
                counts.failed += u64::from(client.response().status() != 200);
                counts.slow += u64::from(begun.elapsed() > Duration::from_millis(400));
                counts.all += 1;
                thread::sleep(Duration::from_millis(2));
            }
            counts
        };
        let clients = (0..8).map(|_| {
            let (port, stop) = (self.port, Arc::clone(&stop));
            thread::spawn(move || ask(port, stop))
        });
        Traffic { clients: clients.collect(), stop }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    all: u64,
    failed: u64,
    slow: u64,
}

struct Traffic {
    clients: Vec<thread::JoinHandle<Counts>>,
    stop: Arc<AtomicBool>,
}

impl Traffic {
    fn end(self) -> Counts {
        self.stop.store(true, Ordering::SeqCst);
        self.clients.into_iter().map(|client| client.join().unwrap()).fold(Counts::default(), |a, b| Counts {
            all: a.all + b.all,
            failed: a.failed + b.failed,
            slow: a.slow + b.slow,
        })
    }
}

/// Cuts the far endpoint off under traffic, waits until it is passed over, and brings it back.
fn cut_and_restore(request: &'static str) -> Counts {
    let farm = Farm::open();
    let traffic = farm.traffic(request);
    wait_for("both serve", || (farm.near.requests() > 50 && farm.far.requests() > 50).then_some(()));
    cut();
    let in_flight = || farm.proxy.rollout("shop").map(|r| r.in_flight["v1"]);
    wait_for("requests hang", || {
        let before = farm.near.requests();
        thread::sleep(Duration::from_millis(500));
        (in_flight()? > 0 && farm.near.requests() > before).then_some(())
    });
    wait_for("none hangs any more", || {
        let waited: Vec<_> = (0..20)
            .filter_map(|_| {
                thread::sleep(Duration::from_millis(10));
                in_flight()
            })
            .collect();
        waited.iter().min().filter(|least| **least == 0).map(drop)
    });
    let before = farm.near.requests();
    wait_for("the near one serves", || (farm.near.requests() > before + 1000).then_some(()));
    restore();
    let before = farm.far.requests();
    wait_for("the far one is back", || (farm.far.requests() > before + 50).then_some(()));
    let counts = traffic.end();
    println!("{request:?} {counts:?}");
    counts
}

#[test]
fn a_network_that_is_cut_fails_no_request_that_may_be_repeated() {
    if in_own_network("cut::a_network_that_is_cut_fails_no_request_that_may_be_repeated") {
        let counts = cut_and_restore("GET / HTTP/1.1\r\nhost: shop\r\n\r\n");
        assert_eq!(counts.failed, 0);
        assert!(counts.slow <= 24, "{counts:?}");
    }
}

#[test]
fn a_network_that_is_cut_fails_only_the_first_few_of_those_that_may_not() {
    if in_own_network("cut::a_network_that_is_cut_fails_only_the_first_few_of_those_that_may_not") {
        let counts = cut_and_restore("POST / HTTP/1.1\r\nhost: shop\r\ncontent-length: 2\r\n\r\nhi");
        assert!(counts.failed <= 8, "each client at most one: {counts:?}");
        assert!(counts.slow <= 24, "{counts:?}");
    }
}
