//! A folder of manifests, and the `penstock local` that runs it.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use penstock_crds::{Rollout, RolloutStatus};
use rustix::process::{Signal, kill_process};
use tempfile::TempDir;

use crate::manifest::Manifest;
use crate::processes::{self, Kind, Process};
use crate::server::{self, Server};
use crate::{PATIENCE, wait_until};

/// A folder, and what runs for it. Everything ends with it, also when the test is killed.
#[derive(Debug)]
pub struct Folder {
    penstock: Option<Server>,
    /// How much was printed before the last start, in bytes.
    printed: usize,
    mark: String,
    _guard: Guard,
    root: TempDir,
}

/// What a command printed, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The exit code; `None`: ended by a signal.
    pub code: Option<i32>,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Folder {
    /// An empty folder. Nothing runs yet.
    pub fn new() -> Result<Folder> {
        Folder::inside(&std::env::temp_dir())
    }

    /// An empty folder somewhere else.
    pub fn inside(place: &Path) -> Result<Folder> {
        let root = tempfile::Builder::new().prefix("penstock-test-").tempdir_in(place)?;
        std::fs::create_dir(root.path().join("shop"))?;
        let mark = root.path().display().to_string();
        Ok(Folder { penstock: None, printed: 0, _guard: Guard::start(&mark, root.path())?, mark, root })
    }

    /// A folder that runs, with a first version in service.
    pub async fn serving(manifest: &Manifest) -> Result<Folder> {
        let mut folder = Folder::new()?;
        folder.apply(manifest)?;
        folder.start(&[])?;
        folder.rests(manifest).await?;
        Ok(folder)
    }

    /// Where the manifests are.
    pub fn path(&self) -> PathBuf {
        self.root.path().join("shop")
    }

    /// A path in what is Penstock's own.
    pub fn own(&self, path: &str) -> PathBuf {
        self.path().join(".penstock").join(path)
    }

    /// Saves a manifest, which applies it.
    pub fn apply(&self, manifest: &Manifest) -> Result<()> {
        self.write(&manifest.file(), &manifest.text())
    }

    /// Puts a text in place of a file, as editors do.
    pub fn write(&self, file: &str, text: &str) -> Result<()> {
        let new = self.path().join(format!(".{file}.new"));
        std::fs::write(&new, text)?;
        Ok(std::fs::rename(new, self.path().join(file))?)
    }

    /// Removes a file.
    pub fn remove(&self, file: &str) -> Result<()> {
        Ok(std::fs::remove_file(self.path().join(file))?)
    }

    /// Starts `penstock local`, and returns at once.
    pub fn start(&mut self, arguments: &[&str]) -> Result<()> {
        let mut command = self.command()?;
        command.arg("local").args(arguments);
        self.printed = std::fs::read(self.log_path()).map_or(0, |bytes| bytes.len());
        self.penstock = Some(Server::start("penstock local", &mut command, &self.log_path())?);
        Ok(())
    }

    /// SIGKILL, and nothing else.
    pub fn kill(&mut self) -> Result<()> {
        self.end(Signal::KILL).map(drop)
    }

    /// SIGKILL within a millisecond or two of the moment at which the saved status is as wanted.
    pub async fn kill_when(&mut self, name: &str, wanted: impl Fn(&RolloutStatus) -> bool) -> Result<()> {
        let begun = Instant::now();
        while !self.status(name).is_ok_and(|status| wanted(&status)) {
            if begun.elapsed() > PATIENCE {
                bail!("the moment to kill penstock did not come: {}", Brief(&self.status(name)?));
            }
            tokio::task::yield_now().await;
        }
        self.kill()
    }

    /// Sends a signal, and waits until `penstock local` has ended; within [`PATIENCE`].
    pub fn end(&mut self, signal: Signal) -> Result<(ExitStatus, Duration)> {
        let mut penstock = self.penstock.take().context("penstock local does not run")?;
        let begun = Instant::now();
        penstock.signal(signal)?;
        Ok((penstock.wait(PATIENCE)?, begun.elapsed()))
    }

    /// Stops `penstock local` in mid-thought, until [`Folder::thaw`].
    pub fn freeze(&self) -> Result<()> {
        self.penstock.as_ref().context("penstock local does not run")?.signal(Signal::STOP)
    }

    /// Ends [`Folder::freeze`].
    pub fn thaw(&self) -> Result<()> {
        self.penstock.as_ref().context("penstock local does not run")?.signal(Signal::CONT)
    }

    /// Waits until `penstock local` has ended by itself.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        self.penstock.take().context("penstock local does not run")?.wait(PATIENCE)
    }

    /// Everything that `penstock local` has printed since its last start.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(bytes.get(self.printed..).unwrap_or_default()).into_owned()
    }

    /// Waits until `penstock local` has printed one line with all these parts, and gives it back.
    pub async fn says(&self, parts: &[&str]) -> Result<String> {
        wait_until(&format!("it says {parts:?}"), PATIENCE, async || {
            let log = self.log();
            let line = log.lines().find(|line| parts.iter().all(|part| line.contains(part)));
            line.map(str::to_owned).with_context(|| format!("it says:\n{log}"))
        })
        .await
    }

    /// Runs `penstock --dir FOLDER` with these arguments to its end.
    pub async fn penstock(&self, arguments: &[&str]) -> Result<Said> {
        let mut command = self.command()?;
        command.args(arguments).stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || command.output()).await??;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) })
    }

    /// A Rollout as it was saved last.
    pub fn rollout(&self, name: &str) -> Result<Rollout> {
        let path = self.own("state").join(format!("default.{name}.json"));
        let bytes = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        serde_json::from_slice(&bytes).with_context(|| format!("understand {}", path.display()))
    }

    /// The status of a Rollout as it was saved last.
    pub fn status(&self, name: &str) -> Result<RolloutStatus> {
        self.rollout(name)?.status.context("it has no status")
    }

    /// Waits until the status of a Rollout is as wanted, and gives it back.
    pub async fn until(
        &mut self,
        name: &str,
        what: &str,
        wanted: impl Fn(&RolloutStatus) -> bool,
    ) -> Result<RolloutStatus> {
        let path = self.own("state").join(format!("default.{name}.json"));
        let penstock = &mut self.penstock;
        wait_until(what, PATIENCE, async || {
            if let Some(penstock) = penstock.as_mut() {
                penstock.check_alive()?;
            }
            let rollout: Rollout = serde_json::from_slice(&std::fs::read(&path)?)?;
            let status = rollout.status.context("no status yet")?;
            if wanted(&status) { Ok(status) } else { bail!("{}", Brief(&status)) }
        })
        .await
    }

    /// Waits until a Rollout stands with this version: a release that is over, well or not.
    pub async fn rests(&mut self, manifest: &Manifest) -> Result<RolloutStatus> {
        let ended = |s: &RolloutStatus| s.canary_revision.is_none() && s.stable_revision.is_some();
        let clean =
            |s: &RolloutStatus| s.revisions.iter().filter(|r| r.scale > 0 || !r.pods.is_empty()).count() == 1;
        let acknowledged = |s: &RolloutStatus| s.split.as_ref().is_some_and(|s| s.acknowledged);
        let full = |s: &RolloutStatus| s.revisions.iter().any(|r| r.weight == 100 && r.ready == r.scale);
        self.until(&manifest.name, "the release is over and only one revision has pods", |s| {
            ended(s) && clean(s) && acknowledged(s) && full(s)
        })
        .await
    }

    /// What runs for the folder.
    pub fn processes(&self) -> Vec<Process> {
        processes::of(&self.mark)
    }

    /// Names of the pods that run.
    pub fn pods(&self) -> Vec<String> {
        let name = |process: Process| match process.kind {
            Kind::Pod { name, .. } => Some(name),
            Kind::Proxy | Kind::Penstock => None,
        };
        self.processes().into_iter().filter_map(name).collect()
    }

    /// SIGKILL for a pod of a revision.
    pub fn kill_pod(&self, of: &str) -> Result<()> {
        let of_it = |p: &Process| matches!(&p.kind, Kind::Pod { revision, .. } if revision == of);
        let pod = self.processes().into_iter().find(of_it).with_context(|| format!("{of} has no pod"))?;
        Ok(kill_process(pod.pid, Signal::KILL)?)
    }

    /// SIGKILL for the proxy.
    pub fn kill_proxy(&self) -> Result<()> {
        Ok(kill_process(self.proxy()?.pid, Signal::KILL)?)
    }

    /// The proxy's process.
    pub fn proxy(&self) -> Result<Process> {
        self.processes().into_iter().find(|p| p.kind == Kind::Proxy).context("no proxy runs")
    }

    /// The process id of `penstock local`.
    pub fn pid(&self) -> Option<u32> {
        self.penstock.as_ref().map(Server::pid)
    }

    fn command(&self) -> Result<Command> {
        let mut command = Command::new(server::binary("penstock")?);
        command.env(processes::MARK, &self.mark).env("USER", "ada").env_remove("PENSTOCK_DIR");
        command.arg("--dir").arg(self.path());
        Ok(command)
    }

    fn log_path(&self) -> PathBuf {
        self.root.path().join("penstock.log")
    }
}

/// Where a Rollout is served.
pub fn address(manifest: &Manifest) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], manifest.port))
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.tell();
        }
    }
}

impl Folder {
    /// What is needed to understand a failed test.
    #[expect(clippy::print_stderr, reason = "the test runner shows it under the failed test")]
    fn tell(&self) {
        let files = |path: PathBuf| std::fs::read_dir(path).into_iter().flatten().flatten().map(|e| e.path());
        for path in files(self.own("state")).filter(|path| path.extension().is_some_and(|e| e == "json")) {
            let read = || anyhow::Ok(serde_json::from_slice::<Rollout>(&std::fs::read(&path)?)?);
            match read().map(|rollout| rollout.status.unwrap_or_default()) {
                Ok(status) => eprintln!("--- {}\n{}", path.display(), Story(&status)),
                Err(error) => eprintln!("--- {}: {error:#}", path.display()),
            }
        }
        for path in files(self.own("logs")) {
            let text = std::fs::read(&path).unwrap_or_default();
            let tail = &text[text.len().saturating_sub(2000)..];
            eprintln!("--- {} ends:\n{}", path.display(), String::from_utf8_lossy(tail));
        }
        eprintln!("--- running: {:?}", self.processes());
        if self.penstock.is_none() {
            eprintln!("--- penstock local printed:\n{}", self.log());
        }
    }
}

/// A status in a line.
#[derive(Debug)]
pub struct Brief<'a>(pub &'a RolloutStatus);

impl fmt::Display for Brief<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.0;
        let (phase, message) = (status.phase.as_str(), status.message.as_deref().unwrap_or_default());
        write!(f, "{phase}: {message}; split {:?}; ", status.split)?;
        for revision in &status.revisions {
            let (name, role) = (&revision.name, revision.role);
            write!(
                f,
                "{role:?} {name} {} of {} ready, {} %; ",
                revision.ready, revision.scale, revision.weight
            )?;
        }
        Ok(())
    }
}

/// A status with its decisions.
#[derive(Debug)]
pub struct Story<'a>(pub &'a RolloutStatus);

impl fmt::Display for Story<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", Brief(self.0))?;
        for decision in &self.0.decisions {
            let at = decision.time.as_ref().map(|time| time.0.as_millisecond()).unwrap_or_default();
            writeln!(f, "  {at} {} {:?}: {}", decision.what, decision.weight, decision.why)?;
        }
        Ok(())
    }
}

/// Ends everything when the test has ended, however it did.
#[derive(Debug)]
struct Guard(Child);

impl Guard {
    fn start(mark: &str, folder: &Path) -> Result<Guard> {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new(server::binary("penstock-test-guard")?);
        // In a group of its own, so that an interrupt by hand does not reach it.
        command.arg(mark).arg(folder).process_group(0).stdin(Stdio::piped());
        Ok(Guard(command.spawn().context("start the guard")?))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().ok();
    }
}
