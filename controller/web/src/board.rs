//! The Rollouts in a line each, made anew only when one has changed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use penstock_driver::view::View;
use penstock_signals::RolloutName;

use crate::answer::{Summary, summary};

/// The Rollouts in a line each.
#[derive(Debug, Default)]
pub(crate) struct Board {
    known: Mutex<BTreeMap<RolloutName, (String, Arc<Summary>)>>,
}

impl Board {
    /// All of them, the most urgent first.
    pub(crate) fn all(&self, view: &dyn View) -> Vec<Arc<Summary>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut *known);
        for (name, version) in view.list() {
            let same = before.remove(&name).filter(|(seen, _)| *seen == version);
            let made = || Some((version, Arc::new(summary(&view.get(&name)?, &name))));
            if let Some(line) = same.or_else(made) {
                known.insert(name, line);
            }
        }
        let mut all: Vec<_> = known.values().map(|(_, summary)| Arc::clone(summary)).collect();
        all.sort_by(|a, b| (a.rank, &a.namespace, &a.name).cmp(&(b.rank, &b.namespace, &b.name)));
        all
    }
}
