//! One `penstock local` per folder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};

use penstock_core::time::Time;
use serde::{Deserialize, Serialize};

use super::files::FileError;
use super::home::Home;

/// The right to run a folder, given back when it is dropped or the process ends.
#[derive(Debug)]
pub struct Instance {
    _lock: File,
}

/// Who runs a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its process.
    pub pid: u32,
    /// Since when.
    pub since: Time,
}

/// Why a folder cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    /// Another process runs it.
    #[error(
        "{dir} is run by {} already; stop that one first (Ctrl-C, or `kill {}`)",
        who(holder),
        pid(holder)
    )]
    Held {
        /// The folder.
        dir: String,
        /// Who runs it, if it says so.
        holder: Option<Holder>,
    },
    /// The lock cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Instance {
    /// Takes the folder. Errors: [`InstanceError::Held`] when another process has it.
    pub fn take(home: &Home, now: Time) -> Result<Instance, InstanceError> {
        let path = home.own().join("lock");
        let fail = |source| FileError::new("lock", &path, source);
        let mut options = OpenOptions::new();
        let mut lock =
            options.read(true).write(true).create(true).truncate(false).open(&path).map_err(fail)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(InstanceError::Held {
                    dir: home.dir().display().to_string(),
                    holder: read(&mut lock),
                });
            }
            Err(TryLockError::Error(source)) => return Err(fail(source).into()),
        }
        sign(&mut lock, now).map_err(fail)?;
        Ok(Instance { _lock: lock })
    }

    /// Who runs the folder at this moment; `None`: nobody.
    pub fn holder(home: &Home) -> Option<Holder> {
        let mut lock = File::open(home.own().join("lock")).ok()?;
        match lock.try_lock_shared() {
            Err(TryLockError::WouldBlock) => read(&mut lock),
            Ok(()) | Err(TryLockError::Error(_)) => None,
        }
    }
}

fn sign(lock: &mut File, now: Time) -> std::io::Result<()> {
    let text = serde_json::to_string(&Holder { pid: std::process::id(), since: now })?;
    lock.set_len(0)?;
    lock.rewind()?;
    lock.write_all(text.as_bytes())
}

fn read(lock: &mut File) -> Option<Holder> {
    let mut text = String::new();
    lock.take(1024).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

fn who(holder: &Option<Holder>) -> String {
    match holder {
        Some(holder) => format!("process {}, since {}", holder.pid, clock(holder.since)),
        None => "another process".to_owned(),
    }
}

fn pid(holder: &Option<Holder>) -> String {
    holder.as_ref().map_or_else(|| "PID".to_owned(), |holder| holder.pid.to_string())
}

fn clock(at: Time) -> String {
    let seconds = i64::try_from(at.0 / 1000).unwrap_or(i64::MAX);
    let stamp = k8s_openapi::jiff::Timestamp::from_second(seconds);
    stamp.map_or_else(|_| "an unknown time".to_owned(), |stamp| stamp.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_one_is_told_who_runs_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(dir.path()).unwrap();
        let first = Instance::take(&home, Time(1_700_000_000_000)).unwrap();
        let refused = Instance::take(&home, Time(0)).unwrap_err().to_string();
        assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
        assert!(refused.contains("2023-11-14T22:13:20Z"), "{refused}");
        assert_eq!(Instance::holder(&home).unwrap().pid, std::process::id());
        drop(first);
        assert!(Instance::holder(&home).is_none());
        Instance::take(&home, Time(0)).unwrap();
    }
}
