//! What is written down of a pod, for the next run and for whoever wants to see it.

use std::path::PathBuf;
use std::time::Duration;

use penstock_core::revision::Revision;
use penstock_core::time::Time;
use serde::{Deserialize, Serialize};

use crate::local::files::{self, Care, FileError};
use crate::local::home::{Home, Key};
use crate::local::process::Process;

/// A pod as it stands in its file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Its name: `<rollout>-<revision>-<five letters>`.
    pub name: String,
    /// Namespace of its Rollout.
    pub namespace: String,
    /// Its Rollout.
    pub rollout: String,
    /// Its revision.
    pub revision: Revision,
    /// The port of 127.0.0.1 that it is told to listen on.
    pub port: u16,
    /// When it was made.
    pub created: Time,
    /// The mark of its last start; written before that start.
    #[serde(default)]
    pub mark: Option<String>,
    /// Its process, while it runs.
    #[serde(default)]
    pub process: Option<Process>,
    /// How often it was started again.
    #[serde(default)]
    pub restarts: u32,
    /// Whether it is ready, as its endpoint says.
    #[serde(default)]
    pub ready: bool,
    /// Since when it is ready.
    #[serde(default)]
    pub ready_since: Option<Time>,
    /// Whether it is on its way out.
    #[serde(default)]
    pub leaving: bool,
    /// What it waits for or died of.
    #[serde(default)]
    pub trouble: Option<String>,
}

impl Record {
    /// Its Rollout; `None` for a record that names none.
    pub fn key(&self) -> Option<Key> {
        Key::new(&self.namespace, &self.rollout).ok()
    }

    /// Whether it has been ready for so long.
    pub fn ready_for(&self, time: Duration, now: Time) -> bool {
        self.ready && now.since(self.ready_since.unwrap_or(self.created)) >= time
    }
}

/// All pods of a folder, by name. Files that cannot be understood are left out and named.
///
/// Errors: the folder cannot be listed.
pub fn records(home: &Home) -> Result<(Vec<Record>, Vec<PathBuf>), FileError> {
    let mut records = Vec::new();
    let mut damaged = Vec::new();
    for path in files::list(&home.pods(), usize::MAX)? {
        let Some(bytes) = files::read(&path)? else { continue };
        match serde_json::from_slice::<Record>(&bytes) {
            Ok(record) if path == self::path(home, &record.name) => records.push(record),
            Ok(_) | Err(_) => damaged.push(path),
        }
    }
    Ok((records, damaged))
}

pub(super) fn write(home: &Home, record: &Record) -> Result<(), FileError> {
    let path = path(home, &record.name);
    let bytes =
        serde_json::to_vec_pretty(record).map_err(|error| FileError::new("write", &path, error.into()))?;
    files::write(&path, &bytes, Care::Quick)
}

pub(super) fn remove(home: &Home, pod: &str) -> Result<(), FileError> {
    files::remove(&path(home, pod)).map(drop)
}

fn path(home: &Home, pod: &str) -> PathBuf {
    home.pods().join(format!("{pod}.json"))
}
