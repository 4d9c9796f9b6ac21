//! The processes of a test, found by a mark in their environment, which children inherit.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// Variable with the mark of a test.
pub const MARK: &str = "PENSTOCK_TEST_MARK";

/// A process that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: Pid,
    /// What it is.
    pub kind: Kind,
}

/// What a process is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `penstock` itself, as `local` or with an order.
    Penstock,
    /// The proxy of a folder.
    Proxy,
    /// A pod.
    Pod {
        /// Its name.
        name: String,
        /// Its revision.
        revision: String,
    },
}

/// All that run with this mark.
pub fn of(mark: &str) -> Vec<Process> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| process(&entry.path(), mark)).collect()
}

/// Ends all that run with this mark, and those that they start meanwhile.
pub fn end(mark: &str) {
    const ROUNDS: usize = 100;
    for _ in 0..ROUNDS {
        let found = of(mark);
        if found.is_empty() {
            return;
        }
        for process in found {
            kill_process(process.pid, Signal::KILL).ok();
        }
        sleep(Duration::from_millis(5));
    }
}

/// A zombie has no environment, so it is none.
fn process(entry: &Path, mark: &str) -> Option<Process> {
    let pid = Pid::from_raw(entry.file_name()?.to_str()?.parse().ok()?)?;
    let bytes = std::fs::read(entry.join("environ")).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let environment: BTreeMap<&str, &str> =
        text.split('\0').filter_map(|variable| variable.split_once('=')).collect();
    (environment.get(MARK) == Some(&mark)).then(|| Process { pid, kind: kind(&environment) })
}

fn kind(environment: &BTreeMap<&str, &str>) -> Kind {
    let value = |name: &str| environment.get(name).map(|value| (*value).to_owned());
    match (value("POD_NAME"), value("PENSTOCK_REVISION"), value("PENSTOCK_PROCESS")) {
        (Some(name), Some(revision), _) => Kind::Pod { name, revision },
        (_, _, Some(start)) if start.starts_with("proxy/") => Kind::Proxy,
        _ => Kind::Penstock,
    }
}
