//! What the status says of the weights, beside what a client saw.

use penstock_crds::time_of;

use super::journal::Seen;
use crate::traffic::Record;

/// A time in which, as the status says, all proxies gave the canary one share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Milliseconds since the Unix epoch.
    pub from: u64,
    /// The next split was decided then.
    pub to: u64,
    /// Share of the canary in percent.
    pub weight: i32,
}

/// All windows of a release, as it was told.
pub fn windows(states: &[Seen]) -> Vec<Window> {
    let mut windows: Vec<Window> = Vec::new();
    let mut open: Option<(i64, Window)> = None;
    for seen in states {
        let status = seen.status();
        let Some(split) = &status.split else { continue };
        if open.as_ref().is_some_and(|(generation, _)| *generation != split.generation) {
            let decided = status.decisions.iter().rev().find(|d| d.weight == Some(split.weight));
            let decided = decided.and_then(|decision| decision.time.as_ref()).map(time_of);
            windows.extend(open.take().map(|(_, window)| Window {
                to: decided.map_or(seen.at, |time| time.0.min(seen.at)),
                ..window
            }));
        }
        if open.is_none() && split.acknowledged && status.canary_revision.is_some() {
            open = Some((split.generation, Window { from: seen.at, to: 0, weight: split.weight }));
        }
    }
    windows
}

impl Window {
    /// Requests in it, and by how many those of the canary are off what its share says.
    pub fn off(&self, record: &Record, canary: &str) -> (usize, f64) {
        let inside = record.between(self.from, self.to);
        let share = f64::from(self.weight) / 100.0 * inside.0.len() as f64;
        (inside.0.len(), (inside.of(canary) as f64 - share).abs())
    }
}
