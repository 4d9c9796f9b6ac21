//! The proxy of a folder: one process that outlives us, started again when it dies.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::files::{self, Care, FileError};
use super::home::Home;
use super::logs;
use super::pods::ports::is_free;
use super::process::{self, Exit, Process, Start};

/// Variable with the path of the proxy's program.
pub const PROGRAM: &str = "PENSTOCK_PROXY";
/// Name of the proxy's program.
pub const NAME: &str = "penstock-proxy";

/// Before the second restart in a row; the first one is at once, for nobody serves in the meantime.
const BACKOFF: Duration = Duration::from_millis(100);
const BACKOFF_MOST: Duration = Duration::from_secs(5);
const HEALTHY: Duration = Duration::from_secs(30);

/// What is known of the proxy's process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Its process, while it runs.
    pub process: Option<Process>,
    /// How often this run has started it again.
    pub restarts: u32,
    /// Why it does not run, in words.
    pub trouble: Option<String>,
}

/// Why there is no proxy.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// Its program is nowhere.
    #[error(
        "{NAME} was not found, neither beside {} nor in PATH: build it (`cargo build -p {NAME}`), or name it in {PROGRAM}", beside.display()
    )]
    NotFound {
        /// Our own program's folder.
        beside: PathBuf,
    },
    /// The variable names something else.
    #[error("{PROGRAM} is `{}`, which is no file: name the program of the proxy, or unset it", .0.display())]
    NoProgram(PathBuf),
    /// No port for it.
    #[error("the proxy cannot have a port on 127.0.0.1: {0}")]
    NoPort(std::io::Error),
    /// The disk refuses.
    #[error(transparent)]
    File(#[from] FileError),
}

/// What is written down of the proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    admin: SocketAddr,
    #[serde(default)]
    mark: Option<String>,
    #[serde(default)]
    process: Option<Process>,
}

/// The proxy of a folder. Dropping it leaves the process running.
#[derive(Debug)]
pub struct Proxy {
    admin: SocketAddr,
    state: watch::Receiver<State>,
    leave: watch::Sender<Option<Duration>>,
    living: JoinHandle<()>,
}

/// The program of the proxy: what [`PROGRAM`] names, else beside our own, else in `PATH`.
pub fn program() -> Result<PathBuf, ProxyError> {
    if let Some(named) = std::env::var_os(PROGRAM) {
        let path = PathBuf::from(named);
        return if path.is_file() { Ok(path) } else { Err(ProxyError::NoProgram(path)) };
    }
    let beside =
        std::env::current_exe().ok().and_then(|me| me.parent().map(Path::to_owned)).unwrap_or_default();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places =
        std::iter::once(beside.clone()).chain(std::env::split_paths(&path)).map(|dir| dir.join(NAME));
    places.find(|place| place.is_file()).ok_or(ProxyError::NotFound { beside })
}

/// Where the proxy of a folder serves /status and /metrics, as it was written down; `None`: none was ever started.
pub fn admin(home: &Home) -> Option<SocketAddr> {
    let bytes = files::read(&path(home)).ok().flatten()?;
    serde_json::from_slice::<Record>(&bytes).ok().map(|record| record.admin)
}

impl Proxy {
    /// Adopts the proxy of the folder, or starts it. To be used inside a tokio runtime.
    ///
    /// Errors: no port is free, or nothing can be written down. That it cannot be started is told by its state.
    pub fn open(home: &Home, program: PathBuf) -> Result<Proxy, ProxyError> {
        let (record, adopted) = recall(home)?;
        process::sweep(home, |mark| {
            !mark.starts_with("proxy/") || adopted.as_ref().is_some_and(|p| p.mark == mark)
        });
        let (told, state) = watch::channel(State { process: adopted.clone(), ..State::default() });
        let (leave, leaves) = watch::channel(None);
        let admin = record.admin;
        let life = Life { home: home.clone(), program, record, told: Arc::new(told), leave: leaves };
        Ok(Proxy { admin, state, leave, living: tokio::spawn(life.live(adopted)) })
    }

    /// Where it serves /status and /metrics. It stays the same for a folder.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// What is known of its process.
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// Takes it away: it finishes what is in flight within this time. `true`: it is gone.
    pub async fn stop(&self, within: Duration) -> bool {
        self.leave.send_replace(Some(within));
        let mut state = self.state();
        let gone = state.wait_for(|state| state.process.is_none());
        tokio::time::timeout(within + Duration::from_secs(5), gone).await.is_ok()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.living.abort();
    }
}

struct Life {
    home: Home,
    program: PathBuf,
    record: Record,
    told: Arc<watch::Sender<State>>,
    leave: watch::Receiver<Option<Duration>>,
}

impl Life {
    async fn live(mut self, adopted: Option<Process>) {
        let (mut process, mut fell) = (adopted, 0);
        while self.leave.borrow().is_none() {
            let begun = Instant::now();
            let why = match process.take().map_or_else(|| self.start(), Ok) {
                Err(why) => why,
                Ok(runs) => match self.attend(&runs).await {
                    Some(exit) => self.fallen(&runs, exit),
                    None => {
                        process = Some(runs);
                        break;
                    }
                },
            };
            fell = if begun.elapsed() >= HEALTHY { 0 } else { fell + 1 };
            self.wait(why, backoff(fell)).await;
        }
        if let Some(process) = process {
            self.depart(&process).await;
        }
    }

    fn start(&mut self) -> Result<Process, String> {
        let start = Start {
            program: self.program.clone().into(),
            args: arguments(&self.home, self.record.admin),
            env: std::collections::BTreeMap::new(),
            dir: self.home.dir().to_owned(),
            mark: process::new_mark("proxy/local"),
        };
        self.record.mark = Some(start.mark.clone());
        write(&self.home, &self.record).map_err(|error| error.to_string())?;
        let log = logs::open(&log(&self.home)).map_err(|error| error.to_string())?;
        let process = process::start(&self.home, &start, log)
            .map_err(|error| format!("the proxy cannot be started: {}: {error}", self.program.display()))?;
        self.record.process = Some(process.clone());
        if let Err(error) = write(&self.home, &self.record) {
            tracing::warn!(%error, "cannot write down the proxy's process; it is found again by its mark");
        }
        self.told.send_modify(|state| (state.process, state.trouble) = (Some(process.clone()), None));
        Ok(process)
    }

    async fn attend(&mut self, process: &Process) -> Option<Exit> {
        let log = log(&self.home);
        tokio::select! {
            exit = process.ended() => Some(exit),
            _ = self.leave.wait_for(Option::is_some) => None,
            never = logs::keep_short(&log) => match never {},
        }
    }

    fn fallen(&self, process: &Process, exit: Exit) -> String {
        process.bury();
        let line = logs::last_line(&log(&self.home)).map(|line| format!("; last line of its log: {line}"));
        format!("the proxy ended with {exit}{}", line.unwrap_or_default())
    }

    async fn wait(&mut self, why: String, wait: Duration) {
        tracing::error!(?wait, "{why}; it is started again");
        self.told.send_modify(|state| {
            state.process = None;
            state.restarts = state.restarts.saturating_add(1);
            state.trouble = Some(why);
        });
        let _ = tokio::time::timeout(wait, self.leave.wait_for(Option::is_some)).await;
    }

    async fn depart(&mut self, process: &Process) {
        let within = self.leave.borrow().unwrap_or_default();
        process.stop(within).await;
        self.record.process = None;
        self.record.mark = None;
        if let Err(error) = write(&self.home, &self.record) {
            tracing::warn!(%error, "cannot write down that the proxy is gone");
        }
        self.told.send_modify(|state| state.process = None);
    }
}

/// The pause after so many falls in a row.
fn backoff(fell: u32) -> Duration {
    let before = fell.checked_sub(2);
    before.map_or(Duration::ZERO, |n| BACKOFF.saturating_mul(2_u32.saturating_pow(n)).min(BACKOFF_MOST))
}

fn arguments(home: &Home, admin: SocketAddr) -> Vec<OsString> {
    let (config, admin) = (home.proxy().into_os_string(), admin.to_string().into());
    ["run".into(), "--config".into(), config, "--admin".into(), admin, "--instance".into(), "local".into()]
        .into()
}

/// The proxy as it was written down, with a port that it can have, and its process if that runs.
fn recall(home: &Home) -> Result<(Record, Option<Process>), ProxyError> {
    let bytes = files::read(&path(home))?.unwrap_or_default();
    let known: Option<Record> = serde_json::from_slice(&bytes).ok();
    let runs = |process: &Process| process.same_process() && process.exit().is_none();
    if let Some(record) = known {
        let found = || process::find(record.mark.as_deref()?);
        let process = record.process.clone().filter(runs).or_else(found);
        if process.is_some() || is_free(record.admin.port()) {
            return Ok((record, process));
        }
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(ProxyError::NoPort)?;
    let admin = listener.local_addr().map_err(ProxyError::NoPort)?;
    let record = Record { admin, mark: None, process: None };
    write(home, &record)?;
    Ok((record, None))
}

fn write(home: &Home, record: &Record) -> Result<(), FileError> {
    let path = path(home);
    let bytes =
        serde_json::to_vec_pretty(record).map_err(|error| FileError::new("write", &path, error.into()))?;
    files::write(&path, &bytes, Care::Quick)
}

fn path(home: &Home) -> PathBuf {
    home.own().join("proxy.json")
}

fn log(home: &Home) -> PathBuf {
    home.logs().join("penstock-proxy.log")
}
