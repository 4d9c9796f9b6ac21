//! The real binary.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use penstock_proxy_api::{RolloutStatus, Status};

use super::{Folder, get, wait_for};

pub struct Proxy {
    child: Child,
    pub first_line: String,
    pub admin: u16,
    log: Arc<Mutex<String>>,
    /// Standard output after the first line.
    output: Arc<Mutex<String>>,
}

impl Proxy {
    pub fn start(folder: &Folder, args: &[&str]) -> Proxy {
        let mut command = Command::new(env!("CARGO_BIN_EXE_penstock-proxy"));
        command.arg("run").arg("--config").arg(folder.path());
        Proxy::run(command, args)
    }

    /// A proxy that may have so many files open.
    pub fn within_files(folder: &Folder, files: u32, args: &[&str]) -> Proxy {
        let mut command = Command::new("sh");
        let limited = format!("ulimit -n {files} && exec \"$@\"");
        command.args(["-c", &limited, "sh", env!("CARGO_BIN_EXE_penstock-proxy")]);
        command.arg("run").arg("--config").arg(folder.path());
        Proxy::run(command, args)
    }

    /// A proxy that reads the namespace `shop` of the cluster that a kubeconfig names.
    pub fn of_cluster(kubeconfig: &Path, args: &[&str]) -> Proxy {
        let mut command = Command::new(env!("CARGO_BIN_EXE_penstock-proxy"));
        command.args(["run", "--kube", "--namespace", "shop", "--listen-address", "127.0.0.1"]);
        command.env("KUBECONFIG", kubeconfig);
        Proxy::run(command, args)
    }

    fn run(mut command: Command, args: &[&str]) -> Proxy {
        let threads = if args.contains(&"--threads") { &[][..] } else { &["--threads", "2"] };
        let admin = if args.contains(&"--admin") { &[][..] } else { &["--admin", "127.0.0.1:0"] };
        command.args(["--instance", "test"]).args(admin).args(threads).args(args);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::<Mutex<String>>::default();
        collect(child.stderr.take().unwrap(), Arc::clone(&log));
        let mut first_line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut first_line).unwrap();
        let output = Arc::<Mutex<String>>::default();
        collect(stdout, Arc::clone(&output));
        let admin = first_line.split("http://127.0.0.1:").nth(1).and_then(|rest| rest.split(' ').next());
        let admin = admin.unwrap_or_else(|| panic!("no admin address: {first_line}{}", log.lock().unwrap()));
        Proxy { child, admin: admin.parse().unwrap(), first_line, log, output }
    }

    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub fn output(&self) -> String {
        self.output.lock().unwrap().clone()
    }

    pub fn status(&self) -> Status {
        let response = get(self.admin, "/status");
        assert_eq!(response.status(), 200);
        serde_json::from_slice(&response.body).unwrap()
    }

    pub fn rollout(&self, name: &str) -> Option<RolloutStatus> {
        self.status().rollouts.into_iter().find(|r| r.name == name)
    }

    pub fn wait_generation(&self, name: &str, generation: u64) -> RolloutStatus {
        wait_for(&format!("{name} at {generation}: {:?}", self.status()), || {
            self.rollout(name).filter(|r| r.generation == generation)
        })
    }

    /// Waits for a problem that has all of these words.
    pub fn wait_problem(&self, words: &[&str]) -> String {
        wait_for(&format!("a problem with {words:?}: {:?}", self.status().problems), || {
            let problems = self.status().problems;
            problems.into_iter().find(|problem| words.iter().all(|word| problem.contains(word)))
        })
    }

    pub fn wait_no_problem(&self) {
        wait_for(&format!("no problem: {:?}", self.status().problems), || {
            self.status().problems.is_empty().then_some(())
        });
    }

    pub fn metrics(&self) -> String {
        get(self.admin, "/metrics").text()
    }

    /// The value of the one series with these labels.
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let labels: Vec<String> = labels.iter().map(|(n, v)| format!("{n}=\"{v}\"")).collect();
        let metrics = self.metrics();
        let mut found = metrics.lines().filter(|line| {
            line.split(['{', ' ']).next() == Some(name) && labels.iter().all(|label| line.contains(label))
        });
        let line = found.next()?;
        assert!(found.next().is_none(), "more than one {name} with {labels:?}");
        line.rsplit(' ').next()?.parse().ok()
    }

    /// What the proxy holds of memory, in KiB.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    pub fn wait_exit(&mut self) -> ExitStatus {
        wait_for("the proxy ends", || self.child.try_wait().unwrap())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        if thread::panicking() {
            eprintln!("log of the proxy:\n{}", self.log());
        }
    }
}

fn collect(mut from: impl Read + Send + 'static, to: Arc<Mutex<String>>) {
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(read) = from.read(&mut buffer) {
            if read == 0 {
                return;
            }
            to.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
    });
}
