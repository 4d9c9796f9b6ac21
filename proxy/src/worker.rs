//! What belongs to one thread of the data plane, and what all threads share.

use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use penstock_proxy_core::balance::Tick;
use penstock_proxy_core::http1::request::RequestHead;
use penstock_proxy_core::http1::response::ResponseHead;
use penstock_proxy_core::limit::{BodyLimit, Places};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::{Log, Note};
use crate::epoch::Epochs;
use crate::http1::alarm::Alarms;
use crate::http1::buffer::Buffers;
use crate::http1::upstream::Kept;
use crate::http2::crew::Crew;
use crate::http2::pool::Pool;
use crate::ports::Ports;
use crate::trace::Traces;
use crate::trust::Trust;

/// Bounds and times of the data plane.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// Where Rollouts are served.
    pub(crate) address: IpAddr,
    /// Threads of the data plane.
    pub(crate) threads: usize,
    /// How long a response's head may take, where the route doesn't say.
    pub(crate) request_timeout: Duration,
    /// Most requests in flight for one Rollout.
    pub(crate) in_flight: u64,
    /// Places for connections of clients.
    pub(crate) places: Places,
    /// How long a client may take to send the head of a request, and to begin the next one.
    pub(crate) head_timeout: Duration,
    /// How long a client that is answered may neither take nor send what it should.
    pub(crate) stall_timeout: Duration,
    /// How long the body of a request may be.
    pub(crate) body: BodyLimit,
    /// Clients that are believed what they say of others.
    pub(crate) trust: Trust,
    /// What traces say that the proxy begins, if it does.
    pub(crate) traces: Option<Traces>,
}

/// What the threads of the data plane share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) limits: Limits,
    pub(crate) epochs: Epochs,
    pub(crate) access: Log,
    /// Cancelled when the proxy begins to drain.
    pub(crate) drain: CancellationToken,
    /// Cancelled when another process accepts in place of this one.
    pub(crate) handed_over: CancellationToken,
    pub(crate) ports: Ports,
    /// Places for connections.
    pub(crate) connections: Arc<Semaphore>,
    /// Places for connections that have none.
    pub(crate) exits: Arc<Semaphore>,
    open: AtomicUsize,
    started: Instant,
    leaving: AtomicBool,
    aborting: AtomicBool,
}

/// One thread of the data plane.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) thread: usize,
    pub(crate) shared: Arc<Shared>,
    pub(crate) pool: Pool,
    /// Connections to endpoints of HTTP/1 that are kept.
    pub(crate) kept: Kept,
    pub(crate) buffers: Rc<Buffers>,
    pub(crate) alarms: Rc<Alarms>,
    /// Who serves streams of HTTP/2.
    pub(crate) crew: Crew,
    /// Heads that are out of use.
    #[expect(clippy::vec_box, reason = "they are handed out boxed")]
    heads: RefCell<Vec<Box<RequestHead>>>,
    #[expect(clippy::vec_box, reason = "they are handed out boxed")]
    answers: RefCell<Vec<Box<ResponseHead>>>,
    #[expect(clippy::vec_box, reason = "they are handed out boxed")]
    notes: RefCell<Vec<Box<Note>>>,
    clock: Cell<Tick>,
    /// Held by each failure that is not counted yet.
    pub(crate) blames: Rc<()>,
    /// Listeners, connections and relays.
    pub(crate) tasks: TaskTracker,
    random: Cell<u64>,
}

/// An open connection of a client.
#[derive(Debug)]
pub(crate) struct Open<'a>(&'a AtomicUsize);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    pub(crate) fn new(limits: Limits, access: Log, ports: Ports) -> Arc<Shared> {
        let epochs = Epochs::new(limits.threads);
        let connections = Arc::new(Semaphore::new(limits.places.served));
        let exits = Arc::new(Semaphore::new(limits.places.turned_away));
        let (drain, started, open) = (CancellationToken::new(), Instant::now(), AtomicUsize::new(0));
        let (leaving, aborting) = (AtomicBool::new(false), AtomicBool::new(false));
        let handed_over = CancellationToken::new();
        Arc::new(Shared {
            limits,
            epochs,
            access,
            drain,
            handed_over,
            ports,
            connections,
            exits,
            open,
            started,
            leaving,
            aborting,
        })
    }

    /// From here on, clients are asked to go elsewhere; what they send is served all the same.
    pub(crate) fn leave(&self) {
        self.leaving.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    /// From here on, requests that end without a word are cut off by the proxy.
    pub(crate) fn abort(&self) {
        self.aborting.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_aborting(&self) -> bool {
        self.aborting.load(Ordering::SeqCst)
    }

    /// Connections of clients that are open.
    pub(crate) fn open_connections(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Counts a connection until it is dropped.
    pub(crate) fn open_connection(&self) -> Open<'_> {
        self.open.fetch_add(1, Ordering::Relaxed);
        Open(&self.open)
    }

    pub(crate) fn now(&self) -> Tick {
        self.tick(Instant::now())
    }

    pub(crate) fn tick(&self, moment: Instant) -> Tick {
        let since = moment.saturating_duration_since(self.started);
        Tick(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

impl Worker {
    pub(crate) fn new(thread: usize, shared: Arc<Shared>) -> Worker {
        let seed = RandomState::new().hash_one(thread);
        let clock = Cell::new(shared.now());
        let buffers = Rc::default();
        Worker {
            thread,
            shared,
            pool: Pool::new(&buffers),
            kept: Kept::default(),
            buffers,
            alarms: Rc::default(),
            crew: Crew::default(),
            heads: RefCell::default(),
            answers: RefCell::default(),
            notes: RefCell::default(),
            clock,
            blames: Rc::default(),
            tasks: TaskTracker::new(),
            random: Cell::new(seed | 1),
        }
    }

    /// The moment of now. Sets the clock.
    pub(crate) fn now(&self) -> Tick {
        self.set_clock(Instant::now());
        self.clock.get()
    }

    /// When a client that does not move from now on is given up.
    pub(crate) fn stalled_at(&self) -> Tick {
        let patience = u64::try_from(self.shared.limits.stall_timeout.as_millis()).unwrap_or(u64::MAX);
        Tick(self.now().0.saturating_add(patience))
    }

    /// A moment not long ago: when a request or a response last began here.
    pub(crate) fn clock(&self) -> Tick {
        self.clock.get()
    }

    pub(crate) fn set_clock(&self, now: Instant) {
        self.clock.set(self.shared.tick(now));
    }

    /// Closes connections to an endpoint that can't be reached.
    pub(crate) fn forget(&self, address: SocketAddr) {
        self.pool.forget(address);
        self.kept.forget(address);
    }

    /// Closes what is kept without need.
    pub(crate) fn shed(&self) {
        self.kept.shed();
    }

    /// Closes connections that have been idle for too long.
    pub(crate) fn sweep(&self) {
        self.pool.sweep();
        self.crew.sweep();
        self.kept.sweep(self.now());
    }

    /// The head of a request, to read one into.
    pub(crate) fn take_head(&self) -> Box<RequestHead> {
        self.heads.borrow_mut().pop().unwrap_or_default()
    }

    pub(crate) fn give_head(&self, head: Box<RequestHead>) {
        keep(&self.heads, head);
    }

    /// The head of a response, to read one into.
    pub(crate) fn take_answer(&self) -> Box<ResponseHead> {
        self.answers.borrow_mut().pop().unwrap_or_default()
    }

    pub(crate) fn give_answer(&self, head: Box<ResponseHead>) {
        keep(&self.answers, head);
    }

    /// What is known of a request, for the access log.
    pub(crate) fn take_note(&self) -> Box<Note> {
        self.notes.borrow_mut().pop().unwrap_or_default()
    }

    pub(crate) fn give_note(&self, mut note: Box<Note>) {
        note.clear();
        keep(&self.notes, note);
    }

    /// A random number, good enough to pick endpoints (xorshift64*).
    pub(crate) fn random(&self) -> u64 {
        let mut x = self.random.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.random.set(x);
        x.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

/// Most heads of a kind that are kept: about as many requests are under way at a time on a busy thread.
const MAX_HEADS: usize = 128;

fn keep<T>(store: &RefCell<Vec<T>>, head: T) {
    let mut store = store.borrow_mut();
    if store.len() < MAX_HEADS {
        store.push(head);
    }
}
