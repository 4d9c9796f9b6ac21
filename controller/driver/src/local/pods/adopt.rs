//! Pods that an earlier run has left: found, taken over, and what they left behind ended.

use std::collections::BTreeSet;

use super::Supervisor;
use super::record::{Record, records};
use crate::local::endpoints::Endpoints;
use crate::local::files::{self, FileError};
use crate::local::process::{self, Process};

impl Supervisor {
    /// Takes over what is there. A pod that has ended in the meantime loses its endpoint at once.
    pub(super) fn adopt(&self) -> Result<(), FileError> {
        let home = &self.table.home;
        let (records, damaged) = records(home)?;
        for path in damaged {
            tracing::warn!(path = %path.display(), "the record of a pod cannot be understood; its process is ended");
            files::remove(&path)?;
        }
        let mut marks = BTreeSet::new();
        let mut published = BTreeSet::new();
        for record in records {
            let process = process_of(&record);
            marks.extend(process.as_ref().map(|process| process.mark.clone()));
            if process.is_some() && record.ready && !record.leaving {
                published.insert(record.name.clone());
            }
            self.take_over(record, process)?;
        }
        Endpoints::new(home).retain(|pod| published.contains(pod))?;
        let ended = process::sweep(home, |mark| !is_pods(mark) || marks.contains(mark));
        if ended > 0 {
            tracing::warn!(ended, "ended processes that pods of an earlier run have left behind");
        }
        Ok(())
    }

    fn take_over(&self, mut record: Record, process: Option<Process>) -> Result<(), FileError> {
        let Some(key) = record.key() else { return Ok(()) };
        let group = (key, record.revision.clone());
        self.ports.claim(record.port);
        if process.is_none() {
            record.restarts = record.restarts.saturating_add(u32::from(record.mark.is_some()));
            record.ready = false;
            record.trouble =
                Some(format!("{} has ended while nobody watched; it is started again", record.name));
        } else {
            tracing::info!(pod = %record.name, port = record.port, "adopted a pod that runs");
        }
        record.process.clone_from(&process);
        self.live(group, record, process)
    }
}

/// The process that was written down, or the one that was started just before somebody could write it down.
fn process_of(record: &Record) -> Option<Process> {
    let known = record.process.clone().filter(|process| process.same_process() && process.exit().is_none());
    known.or_else(|| process::find(record.mark.as_deref()?))
}

fn is_pods(mark: &str) -> bool {
    mark.starts_with("pod/") || mark.starts_with("probe/")
}
