//! The life of a proxy: starts its parts, waits for signals, drains.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use penstock_proxy_core::limit::{BodyLimit, Places};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::access::{AccessLog, Log};
use crate::admin::{self, Admin};
use crate::board::Board;
use crate::config::assemble::Memory;
use crate::config::folder::Folder;
pub use crate::config::kube::ClusterError;
use crate::config::kube::{Access, Cluster};
use crate::config::source::{Files, Nudge, Nudger, Source};
use crate::control::Control;
use crate::handover;
use crate::heir::taken_over;
use crate::listen;
use crate::ports::Ports;
use crate::trace::Traces;
use crate::trust::Trust;
use crate::worker::{Limits, Shared};

/// Clients that are connected are asked for so long to open their next connection, which another process accepts.
const LINGER: Duration = Duration::from_secs(5);

/// How often to look whether slices still lead here, once told to stop.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How a proxy runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where HTTPRoutes, EndpointSlices and Services come from.
    pub objects: Objects,
    /// Where status and metrics are served.
    pub admin: SocketAddr,
    /// The name of this proxy among those of a Rollout.
    pub instance: String,
    /// The address on which Rollouts are served; their ports come from their routes.
    pub listen_address: std::net::IpAddr,
    /// Threads of the data plane.
    pub threads: usize,
    /// The addresses that EndpointSlices name this proxy by.
    pub own_addresses: Vec<std::net::IpAddr>,
    /// How long to wait, once told to stop, until no slice calls any of these ready any more.
    pub drain_wait: Duration,
    /// How long to go on accepting connections after that.
    pub drain_delay: Duration,
    /// How long requests in flight may take after that.
    pub drain_timeout: Duration,
    /// How long the head of a response may take, where the route doesn't say. Zero: for ever.
    pub request_timeout: Duration,
    /// Most requests in flight for one Rollout.
    pub max_in_flight: u64,
    /// Most connections of clients.
    pub max_connections: usize,
    /// How long a client may take to send the head of a request, and to begin the next one.
    pub head_timeout: Duration,
    /// How long a client that is answered may neither take nor send what it should.
    pub stall_timeout: Duration,
    /// Longest body of a request, in bytes. `None`: as long as it likes.
    pub max_body: Option<u64>,
    /// Clients that are believed what they say of others.
    pub trust: Trust,
    /// Where sockets are taken from the process before, and given to the one after; `None`: nowhere.
    pub handover: Option<PathBuf>,
    /// What traces say that the proxy begins for requests without one. `None`: it begins none.
    pub traces: Option<Traces>,
    /// Which requests are logged on standard output.
    pub access_log: AccessLog,
}

/// Where a proxy reads objects.
#[derive(Clone, Debug)]
pub enum Objects {
    /// In the files of a folder.
    Folder(PathBuf),
    /// From the API server of a cluster: those of one namespace; of the ServiceAccount's own if left out.
    Cluster(Option<String>),
}

/// Why a proxy can't run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder is not there.
    #[error("can't read the folder {}; create it, or name another one with --config", path.display())]
    Folder {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The way to the API server is not known.
    #[error(
        "can't find the cluster's API server; run in a pod with a ServiceAccount, or name a kubeconfig in KUBECONFIG"
    )]
    Cluster(#[source] ClusterError),
    /// Sockets can't be taken over from the process before.
    #[error(
        "can't take sockets over by {}; name a file in a folder of your own with --handover, or leave it out",
        path.display()
    )]
    Handover {
        /// The Unix socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The admin listener can't be opened.
    #[error("can't listen on {address} for status and metrics; name a free address with --admin")]
    Admin {
        /// Its address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The system refuses threads, signals or the like.
    #[error("can't start {what}")]
    Start {
        /// What.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// What a folder holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Each Rollout that can be served, in words.
    pub rollouts: Vec<String>,
    /// What can't be used, or is left out: file, field and remedy.
    pub problems: Vec<String>,
}

/// Reads a folder as a proxy would, without serving anything.
pub fn check(folder: &Path) -> Result<Checked, Error> {
    readable(folder)?;
    let mut files = Folder::new(folder.into());
    files.scan(&Default::default(), &Default::default());
    let (drafts, problems) = Memory::default().assemble(&files.contents(), Instant::now());
    let rollouts = drafts.iter().map(|draft| {
        let ((namespace, rollout), route) = (draft.key(), &draft.route);
        let ready: u32 = draft.reach.iter().map(|r| r.ready).sum();
        let (port, generation) = (draft.port, route.generation);
        format!("{namespace}/{rollout}: port {port}, generation {generation}, {ready} ready endpoints")
    });
    Ok(Checked { rollouts: rollouts.collect(), problems })
}

/// Runs a proxy until a signal ends it. `started` is told once what it listens on.
pub fn run(settings: &Settings, started: impl FnOnce(&str)) -> Result<(), Error> {
    if let Objects::Folder(folder) = &settings.objects {
        readable(folder)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| Error::Start { what: "the admin runtime", source })?;
    runtime.block_on(live(settings, started))
}

fn readable(folder: &Path) -> Result<(), Error> {
    let read = std::fs::read_dir(folder);
    read.map(drop).map_err(|source| Error::Folder { path: folder.into(), source })
}

async fn live(settings: &Settings, started: impl FnOnce(&str)) -> Result<(), Error> {
    let mut signals = Signals::new().map_err(|source| Error::Start { what: "signals", source })?;
    let (access, lines) = Log::new(settings.access_log);
    let path = settings.handover.as_deref();
    let claim =
        |path: &Path| handover::claim(path).map_err(|source| Error::Handover { path: path.into(), source });
    let (legacy, left) = path.map(claim).transpose()?.flatten().unzip();
    let ports = Ports::new(left.unwrap_or_default(), path.is_some());
    let limits = Limits {
        address: settings.listen_address,
        threads: settings.threads,
        request_timeout: settings.request_timeout,
        in_flight: settings.max_in_flight,
        places: places(settings.max_connections),
        head_timeout: settings.head_timeout,
        stall_timeout: settings.stall_timeout,
        body: BodyLimit::new(settings.max_body),
        trust: settings.trust.clone(),
        traces: settings.traces,
    };
    let shared = Shared::new(limits, access, ports);
    let board = Arc::new(Board::new(settings.instance.clone(), settings.threads));
    let address = settings.admin;
    let admin = shared.ports.open_one(address).and_then(TcpListener::from_std);
    let admin = admin.map_err(|source| Error::Admin { address, source })?;
    let address = admin.local_addr().unwrap_or(address);
    let (threads, drained) = start_threads(&shared)?;
    let own = settings.own_addresses.clone();
    let reach = Reach { own, shared: &shared, board: &board, threads };
    let nudge = match &settings.objects {
        Objects::Folder(folder) => {
            let (files, nudge) = Files::new(folder.clone());
            reach.follow(files).map(|()| nudge)
        }
        Objects::Cluster(namespace) => {
            let access = Access::find(namespace.clone()).await.map_err(Error::Cluster)?;
            let cluster = Cluster::new(access);
            let (cluster, nudge) = cluster.map_err(|source| Error::Start { what: "watches", source })?;
            reach.follow(cluster).map(|()| nudge)
        }
    }?;
    let router = admin::router(Admin { board: Arc::clone(&board), shared: Arc::clone(&shared) });
    let until = shared.handed_over.clone().cancelled_owned();
    tokio::spawn(async move { axum::serve(admin, router).with_graceful_shutdown(until).await });
    started(&listens(address, &board));
    if shared.access.is_on() {
        spawn("penstock-access", move || lines.run(std::io::stdout()))?;
    }
    let handed_over = tokio::select! {
        () = signals.wait(&nudge) => false,
        () = taken_over(path, legacy, &shared, &board) => true,
    };
    let mut ending = Ending { shared, board, nudge, drained, handed_over };
    if !ending.drain(settings, &mut signals).await {
        ending.cut_off();
    }
    ending.shared.access.flush();
    Ok(())
}

/// As many places for connections as are wanted, or as files may be open: as many of these as the system grants.
fn places(wanted: usize) -> Places {
    let hard = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard }).ok();
    let files = getrlimit(Resource::Nofile).current;
    let places = Places::within(wanted, files);
    if places.served < wanted {
        let (served, files) = (places.served, files.unwrap_or(u64::MAX));
        tracing::info!(served, wanted, files, "fewer connections than wanted, for want of open files");
    }
    places
}

/// What a control needs to put things into effect.
struct Reach<'a> {
    own: Vec<std::net::IpAddr>,
    shared: &'a Arc<Shared>,
    board: &'a Arc<Board>,
    threads: Vec<UnboundedSender<listen::Listen>>,
}

impl Reach<'_> {
    /// Puts into effect what the source holds, and from here on what changes.
    fn follow(self, source: impl Source + Send + 'static) -> Result<(), Error> {
        let (shared, board) = (Arc::clone(self.shared), Arc::clone(self.board));
        let mut control = Control::new(source, self.own, shared, board, self.threads);
        control.turn(true);
        spawn("penstock-config", move || control.run())
    }
}

fn start_threads(shared: &Arc<Shared>) -> Result<(Vec<UnboundedSender<listen::Listen>>, Drained), Error> {
    let (done, drained) = unbounded_channel();
    let mut orders = Vec::new();
    for thread in 0..shared.limits.threads {
        let (sender, receiver) = unbounded_channel();
        let (shared, done) = (Arc::clone(shared), done.clone());
        spawn("penstock-data", move || {
            if let Err(error) = listen::run(thread, shared, receiver) {
                tracing::error!(%error, thread, "thread of the data plane can't run");
            }
            drop(done);
        })?;
        orders.push(sender);
    }
    Ok((orders, Drained(drained)))
}

fn spawn(name: &'static str, run: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    let spawned = thread::Builder::new().name(name.into()).spawn(run);
    spawned.map(drop).map_err(|source| Error::Start { what: name, source })
}

/// Ends when all threads of the data plane have.
struct Drained(UnboundedReceiver<()>);

fn listens(admin: SocketAddr, board: &Board) -> String {
    let view = board.view();
    let rollouts = view.lanes.iter().filter_map(|shown| {
        let address = shown.listen?;
        Some(format!(", http://{address} ({}/{})", shown.lane.namespace, shown.lane.rollout))
    });
    let rollouts: String = rollouts.collect();
    let rest = if rollouts.is_empty() { ", no Rollout yet" } else { "" };
    format!("penstock-proxy {} listens on http://{admin} (admin){rollouts}{rest}", env!("CARGO_PKG_VERSION"))
}

/// What is needed to end.
struct Ending {
    shared: Arc<Shared>,
    board: Arc<Board>,
    nudge: Nudger,
    drained: Drained,
    /// Another process accepts already.
    handed_over: bool,
}

impl Ending {
    /// Lets requests in flight end, for a while and unless a second signal comes. Returns whether all have.
    async fn drain(&mut self, settings: &Settings, signals: &mut Signals) -> bool {
        tracing::info!(handed_over = self.handed_over, "draining");
        self.board.drain();
        self.shared.leave();
        let (mut delay, mut wait) = (settings.drain_delay, settings.drain_wait);
        if self.handed_over {
            self.shared.handed_over.cancel();
            self.shared.ports.close_all();
            (delay, wait) = (delay.max(LINGER), Duration::ZERO);
        }
        let (nudge, board) = (&self.nudge, &self.board);
        let drain = async {
            if tokio::time::timeout(wait, unlisted(board)).await.is_err() {
                tracing::warn!(?wait, "EndpointSlices still lead here; clients may be refused from here on");
            }
            tokio::time::sleep(delay).await;
            nudge(Nudge::Stop);
            self.shared.ports.close_all();
            self.shared.drain.cancel();
            tokio::time::timeout(settings.drain_timeout, self.drained.0.recv()).await.is_ok()
        };
        tokio::select! {
            complete = drain => complete,
            () = signals.wait(nudge) => false,
        }
    }

    fn cut_off(&self) {
        self.shared.abort();
        tracing::warn!(connections = self.shared.open_connections(), "stopped before all requests had ended");
    }
}

/// Waits until no slice leads clients here any more.
async fn unlisted(board: &Board) {
    while board.is_listed() {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reload: Signal,
}

impl Signals {
    fn new() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reload: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for a signal to stop; passes on those to reload.
    async fn wait(&mut self, nudge: &Nudger) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.reload.recv() => nudge(Nudge::Reload),
            }
        }
    }
}
