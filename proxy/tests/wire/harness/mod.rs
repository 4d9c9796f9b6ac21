//! Real sockets around the real binary: backends, a folder of files, a proxy, a client.

pub mod apiserver;
pub mod backend;
pub mod cases;
pub mod folder;
pub mod frames;
pub mod message;
pub mod proxy;
pub mod strict;
pub mod tape;

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub use apiserver::{ApiServer, Fault};
pub use backend::{Backend, Hole};
pub use folder::{Folder, Split};
pub use message::{Client, Response, get};
pub use proxy::Proxy;
pub use tape::Rig;

/// How long anything may take that must come: the machine may be busy with something else.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Waits until `look` finds what it looks for.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// How many connections to a port of this machine are open in both directions, as the kernel of the side that opened
/// them knows: under load, the word that the other side has closed takes its time.
pub fn open_to(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let remote = format!(":{port:04X}");
    let is_open = |line: &&str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        matches!(words[..], [_, _, to, "01", ..] if to.ends_with(&remote))
    };
    table.lines().filter(is_open).count()
}

/// A port that nobody listens on, and that the system gives to nobody who asks for any.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const RANGE: std::ops::Range<u32> = 10_000..32_000;
    let begin = std::process::id().wrapping_mul(977);
    loop {
        let offset = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % (RANGE.end - RANGE.start);
        let port = u16::try_from(RANGE.start + offset).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Two backends, `v1` and `v2`, and a proxy that splits between them.
pub struct Shop {
    pub v1: Backend,
    pub v2: Backend,
    pub folder: Folder,
    pub proxy: Proxy,
    pub port: u16,
}

impl Shop {
    pub fn open(split: Split) -> Shop {
        Shop::with(split, Backend::named("v1"), Backend::named("v2"), &[])
    }

    pub fn with(split: Split, v1: Backend, v2: Backend, args: &[&str]) -> Shop {
        Shop::started(split, v1, v2, |folder| Proxy::start(folder, args))
    }

    /// With a proxy that is started in another way.
    pub fn started(split: Split, v1: Backend, v2: Backend, start: impl FnOnce(&Folder) -> Proxy) -> Shop {
        let (folder, port) = (Folder::new(), free_port());
        folder.endpoints("shop-v1", &[v1.port()]);
        folder.endpoints("shop-v2", &[v2.port()]);
        folder.route(&split.port(port));
        let proxy = start(&folder);
        Shop { v1, v2, folder, proxy, port }
    }

    /// All traffic to a backend that does as told.
    pub fn of(backend: Backend, args: &[&str]) -> Shop {
        Shop::with(Split::new(1, 100, 0), backend, Backend::named("v2"), args)
    }

    pub fn get(&self, path: &str) -> Response {
        get(self.port, path)
    }

    pub fn client(&self) -> Client {
        Client::connect(self.port)
    }

    /// Ended requests by revision, class and culprit.
    pub fn counted(&self, revision: &str, code: &str, culprit: &str) -> u64 {
        let labels = [("rollout", "shop"), ("revision", revision), ("code", code), ("culprit", culprit)];
        self.proxy.metric("penstock_requests_total", &labels).unwrap() as u64
    }

    /// Waits until so many requests have been counted like that.
    pub fn wait_counted(&self, revision: &str, code: &str, culprit: &str, count: u64) {
        let what = format!("{count} of {revision} {code} {culprit}\n{}", self.proxy.metrics());
        wait_for(&what, || (self.counted(revision, code, culprit) == count).then_some(()));
    }

    /// Puts a split into effect and waits until it is.
    pub fn change(&self, split: &Split) {
        self.folder.route(&split.clone().port(self.port));
        self.proxy.wait_generation("shop", split.generation);
    }
}
