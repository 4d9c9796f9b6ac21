//! A proxy that is started in place of another one takes its sockets over.

use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use tempfile::TempDir;

use crate::harness::{Backend, Client, Proxy, Shop, Split, free_port, get, wait_for};

/// A place for the hand-over, and the address for status that all have in common.
struct Place {
    folder: TempDir,
    admin: String,
}

impl Place {
    fn new() -> Place {
        Place { folder: tempfile::tempdir().unwrap(), admin: format!("127.0.0.1:{}", free_port()) }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("next")
    }

    fn start(&self, shop: &Shop, threads: &str) -> Proxy {
        Proxy::start(&shop.folder, &self.args(threads).iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn args(&self, threads: &str) -> [String; 6] {
        let socket = self.socket().display().to_string();
        ["--handover", &socket, "--admin", &self.admin, "--threads", threads].map(str::to_owned)
    }

    fn shop(&self) -> Shop {
        let args = self.args("2");
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let shop = Shop::with(Split::new(1, 100, 0), Backend::named("v1"), Backend::named("v2"), &args);
        wait_for("it waits for the next one", || self.socket().exists().then_some(()));
        shop
    }
}

#[test]
fn restarts_refuse_no_connection_and_cut_off_no_request() {
    let place = Place::new();
    let mut shop = place.shop();
    let (over, served) = (AtomicBool::new(false), AtomicU64::new(0));
    let port = shop.port;
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut kept = Client::connect(port);
                while !over.load(Ordering::SeqCst) {
                    assert_eq!(get(port, "/").status(), 200, "on a connection of its own");
                    let response = kept.get("/", "");
                    assert_eq!(response.status(), 200, "on a kept connection");
                    if response.header("connection") == Some("close") {
                        kept = Client::connect(port);
                    }
                    served.fetch_add(2, Ordering::SeqCst);
                }
            });
        }
        // Fewer threads, more threads, as many.
        for threads in ["1", "3", "3"] {
            let before = served.load(Ordering::SeqCst);
            wait_for("requests", || (served.load(Ordering::SeqCst) > before + 100).then_some(()));
            let next = place.start(&shop, threads);
            let mut last = std::mem::replace(&mut shop.proxy, next);
            assert!(last.wait_exit().success(), "{}", last.log());
            let before = served.load(Ordering::SeqCst);
            wait_for("requests", || (served.load(Ordering::SeqCst) > before + 100).then_some(()));
        }
        over.store(true, Ordering::SeqCst);
    });
    assert!(!shop.proxy.status().draining);
    assert_eq!(shop.proxy.rollout("shop").unwrap().generation, 1);
}

#[test]
fn whoever_waits_in_the_queue_is_served_by_the_next_one() {
    let place = Place::new();
    let mut shop = place.shop();
    // The one that runs accepts nothing any more, as if it had no time.
    shop.proxy.signal("STOP");
    let mut waiting: Vec<Client> = (0..20).map(|_| shop.client()).collect();
    let stream = UnixStream::connect(place.socket()).unwrap();
    drop(stream);
    shop.proxy.signal("CONT");
    let next = place.start(&shop, "2");
    let mut last = std::mem::replace(&mut shop.proxy, next);
    for client in &mut waiting {
        assert_eq!(client.get("/", "").status(), 200);
    }
    assert!(last.wait_exit().success());
}

#[test]
fn one_that_never_serves_takes_nothing() {
    let place = Place::new();
    let shop = place.shop();
    for words in ["", "yes", "r"] {
        let mut stream = UnixStream::connect(place.socket()).unwrap();
        std::io::Write::write_all(&mut stream, words.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        // What it has not read of this ends the connection with an error.
        std::io::copy(&mut stream, &mut std::io::sink()).ok();
        assert_eq!(shop.get("/").status(), 200);
    }
    let refused = wait_for("it says so", || {
        Some(shop.proxy.log()).filter(|log| log.matches("sockets are not handed over").count() == 3)
    });
    assert!(!refused.contains("draining"));
}

#[test]
fn a_place_that_nobody_serves_any_more_is_taken() {
    let place = Place::new();
    drop(UnixListener::bind(place.socket()).unwrap());
    let shop = Shop::with(Split::new(1, 100, 0), Backend::named("v1"), Backend::named("v2"), &[]);
    let other = Shop::with(Split::new(1, 0, 100), Backend::named("v1"), Backend::named("v2"), &[]);
    drop(other.proxy);
    let args = place.args("2");
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let again = Proxy::start(&other.folder, &args);
    assert_eq!(get(other.port, "/").text(), "v2");
    assert_eq!(shop.get("/").text(), "v1");
    wait_for("it waits for the next one", || UnixStream::connect(place.socket()).ok());
    drop(again);
}

#[test]
fn a_place_that_can_not_be_used_is_told() {
    let place = Place::new();
    let shop = place.shop();
    let missing = place.folder.path().join("missing/next");
    let log = Shop::with(
        Split::new(1, 100, 0),
        Backend::named("v1"),
        Backend::named("v2"),
        &["--handover", &missing.display().to_string()],
    );
    wait_for("it says so", || log.proxy.log().contains("can't be handed over").then_some(()));
    assert_eq!((shop.get("/").status(), log.get("/").status()), (200, 200));
}

#[test]
fn a_file_of_somebody_is_not_taken_for_a_place() {
    let place = Place::new();
    std::fs::write(place.socket(), "notes").unwrap();
    let args = place.args("2");
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let shop = Shop::with(Split::new(1, 100, 0), Backend::named("v1"), Backend::named("v2"), &args);
    wait_for("it says so", || shop.proxy.log().contains("name a new file").then_some(()));
    assert_eq!(std::fs::read_to_string(place.socket()).unwrap(), "notes");
    assert_eq!(shop.get("/").status(), 200);
}
