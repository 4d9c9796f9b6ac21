//! The life of one pod: start, attend, fall, start again, until it has to leave.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::Pace;
use super::plan::{Named, Plan};
use super::ports::{self, Ports};
use super::probe::Tally;
use super::table::{Leave, Name, Table};
use crate::local::logs;
use crate::local::process::{self, Exit, Process, Start};

/// What a pod needs to live.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) table: Arc<Table>,
    pub(super) ports: Arc<Ports>,
    pub(super) pace: Pace,
    pub(super) group: Name,
    pub(super) pod: String,
    pub(super) leave: watch::Receiver<Leave>,
    pub(super) fell: u32,
    pub(super) grace: Duration,
}

/// A process with what was started.
struct Running {
    process: Process,
    plan: Arc<Plan>,
    start: Start,
    /// When it became ready.
    ready: Option<Instant>,
}

impl Life {
    /// Lives, beginning with a process that an earlier run of ours has started, if there is one.
    pub(super) async fn live(mut self, adopted: Option<Process>) {
        let mut process = adopted;
        while self.told() == Leave::Not {
            let Some(plan) = self.plan(process.as_ref()).await else {
                if process.as_ref().is_some_and(|p| p.exit().is_some()) {
                    break;
                }
                continue;
            };
            let Some(mut running) = self.begin(plan, process.take()).await else { continue };
            match self.attend(&mut running).await {
                Some(exit) => self.fall(&running, exit).await,
                None => process = Some(running.process),
            }
        }
        self.depart(process).await;
    }

    /// What is to be started. `None`: it has to leave, or the process of a pod that nobody wants has ended.
    async fn plan(&mut self, process: Option<&Process>) -> Option<Arc<Plan>> {
        let mut changes = self.table.changes();
        loop {
            if let Some(plan) = self.table.plan(&self.group) {
                return Some(plan);
            }
            let ended = async {
                match process {
                    Some(process) => drop(process.ended().await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = changes.changed() => {}
                () = ended => return None,
                () = self.told_to_leave() => return None,
            }
        }
    }

    async fn begin(&mut self, plan: Arc<Plan>, adopted: Option<Process>) -> Option<Running> {
        self.grace = plan.grace;
        let port = if adopted.is_none() { self.free_port() } else { self.port() };
        let mark = adopted
            .as_ref()
            .map_or_else(|| process::new_mark(&format!("pod/{}", self.pod)), |p| p.mark.clone());
        let (key, revision) = &self.group;
        let named = Named { pod: &self.pod, namespace: key.namespace(), revision: revision.as_str(), port };
        let start = plan.start(named, mark);
        let process = match adopted {
            Some(process) => Ok(process),
            None => self.start(&start),
        };
        match process {
            Ok(process) => Some(Running { process, plan, start, ready: None }),
            Err(why) => {
                self.wait_after(why).await;
                None
            }
        }
    }

    /// The mark is written down first: a start that nobody wrote down can be found by it.
    fn start(&self, start: &Start) -> Result<Process, String> {
        let program = start.program.to_string_lossy();
        self.table.set(&self.pod, |record| record.mark = Some(start.mark.clone()));
        let log = logs::open(&self.log()).map_err(|error| error.to_string())?;
        let process = process::start(&self.table.home, start, log).map_err(|error| {
            let dir = start.dir.display();
            format!("{}: cannot start `{program}` in {dir}: {error}; check command and workingDir", self.pod)
        })?;
        self.table.set(&self.pod, |record| {
            record.process = Some(process.clone());
            record.trouble.get_or_insert_with(|| format!("{} is starting", record.name));
        });
        Ok(process)
    }

    /// Asks whether it is ready until it ends (`Some`) or has to leave (`None`).
    async fn attend(&mut self, running: &mut Running) -> Option<Exit> {
        let process = running.process.clone();
        let log = self.log();
        let mut leave = self.leave.clone();
        tokio::select! {
            exit = process.ended() => Some(exit),
            _ = leave.wait_for(|told| *told != Leave::Not) => None,
            never = self.judge(running) => match never {},
            never = logs::keep_short(&log) => match never {},
        }
    }

    async fn judge(&self, running: &mut Running) -> Infallible {
        let probe = running.plan.probe.clone();
        let known = self.table.record(&self.pod).is_some_and(|record| record.ready);
        let mut tally = Tally::new(known);
        running.ready = known.then(Instant::now);
        tokio::time::sleep(if known { Duration::ZERO } else { probe.delay }).await;
        for asked in 0.. {
            let answer = probe.ask(self.port(), &running.start).await;
            let ready = tally.count(answer.is_ok(), &probe);
            running.ready = if ready { running.ready.or_else(|| Some(Instant::now())) } else { None };
            self.note(ready, answer.err());
            tokio::time::sleep(probe.pause(asked, ready)).await;
        }
        std::future::pending().await
    }

    fn note(&self, ready: bool, why: Option<String>) {
        self.table.set(&self.pod, |record| {
            record.ready = ready;
            let why = why.filter(|_| !ready).map(|why| format!("{} is not ready: {why}", record.name));
            if ready || why.is_some() {
                record.trouble = why;
            }
        });
    }

    async fn fall(&mut self, running: &Running, exit: Exit) {
        self.table.set(&self.pod, |record| record.ready = false);
        running.process.bury();
        if running.ready.is_some_and(|since| since.elapsed() >= self.pace.healthy) {
            self.fell = 0;
        }
        self.table.set(&self.pod, |record| {
            record.process = None;
            record.restarts = record.restarts.saturating_add(1);
        });
        let line = logs::last_line(&self.log())
            .map(|line| format!("; last line of its log: {line}"))
            .unwrap_or_default();
        self.wait_after(format!("{} ended with {exit}{line}", self.pod)).await;
    }

    /// Waits before the next start, longer each time.
    async fn wait_after(&mut self, why: String) {
        let wait = self.pace.backoff(self.fell);
        self.fell = self.fell.saturating_add(1);
        tracing::warn!(pod = %self.pod, ?wait, "{why}");
        self.table.set(&self.pod, |record| {
            record.trouble = Some(format!("{why}; it is started again in {wait:?}"))
        });
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = self.told_to_leave() => {}
        }
    }

    /// Its endpoint goes first; its process only after proxies had time to see that.
    async fn depart(mut self, process: Option<Process>) {
        let was_ready = self.table.record(&self.pod).is_some_and(|record| record.ready);
        let withdrawn = self.withdraw();
        if let Some(process) = process {
            if was_ready {
                self.keep_quiet(withdrawn).await;
            }
            self.stop(&process, self.grace).await;
        }
        self.ports.give_back(self.port());
        self.table.forget(&self.pod);
    }

    fn withdraw(&self) -> bool {
        self.table.set(&self.pod, |record| {
            record.leaving = true;
            record.ready = false;
            record.trouble = None;
        })
    }

    async fn keep_quiet(&mut self, mut withdrawn: bool) {
        const TRIES: u32 = 10;
        for _ in 0..TRIES {
            tokio::select! {
                () = tokio::time::sleep(self.pace.quiet) => {}
                _ = self.leave.wait_for(|told| matches!(told, Leave::Within(_))) => return,
            }
            if withdrawn {
                return;
            }
            withdrawn = self.withdraw();
        }
    }

    /// The grace gets shorter when everything has to go.
    async fn stop(&mut self, process: &Process, grace: Duration) {
        let hurried = async {
            let told = self.leave.wait_for(|told| matches!(told, Leave::Within(_))).await.map(|told| *told);
            match told {
                Ok(Leave::Within(most)) => tokio::time::sleep(most).await,
                Ok(Leave::Not | Leave::Gently) | Err(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = process.stop(grace) => return,
            () = hurried => {}
        }
        process.kill().await;
    }

    /// Its own port, or another one when a stranger has taken that in between.
    fn free_port(&self) -> u16 {
        let port = self.port();
        if ports::is_free(port) {
            return port;
        }
        let Ok(other) = self.ports.take() else { return port };
        self.ports.give_back(port);
        self.table.set(&self.pod, |record| record.port = other);
        other
    }

    fn port(&self) -> u16 {
        self.table.record(&self.pod).map_or(0, |record| record.port)
    }

    fn log(&self) -> PathBuf {
        self.table.home.logs().join(format!("{}.log", self.pod))
    }

    fn told(&self) -> Leave {
        *self.leave.borrow()
    }

    async fn told_to_leave(&self) {
        let mut leave = self.leave.clone();
        // Nobody can tell it any more: the supervisor is gone, and this with it.
        if leave.wait_for(|told| *told != Leave::Not).await.is_err() {
            std::future::pending().await
        }
    }
}
