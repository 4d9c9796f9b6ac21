//! Reads what the proxy does, all of it as of one moment.

use std::collections::BTreeMap;
use std::sync::Arc;

use penstock_proxy_api::{RolloutStatus, Status};
use penstock_proxy_core::table::Table;

use crate::board::{Board, View};
use crate::lane::Entry;
use crate::series::Series;
use crate::worker::Shared;

/// Tables, and series that count everything that was decided by older ones.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) view: Arc<View>,
    /// The table of each lane of the view.
    pub(crate) entries: Vec<Arc<Entry>>,
    pub(crate) series: Vec<Arc<Series>>,
}

/// Takes tables first, waits until no thread decides by an older one, and leaves the counts to be read after that.
pub(crate) async fn snapshot(board: &Board, shared: &Shared) -> Snapshot {
    let view = board.view();
    let entries = view.lanes.iter().map(|shown| shown.lane.entry.load_full()).collect();
    shared.epochs.settle().await;
    Snapshot { view, entries, series: board.registry.all() }
}

/// The answer of `/status`.
pub(crate) async fn status(board: &Board, shared: &Shared) -> Status {
    let snapshot = snapshot(board, shared).await;
    let rollouts = snapshot.view.lanes.iter().zip(&snapshot.entries);
    Status {
        version: env!("CARGO_PKG_VERSION").into(),
        instance: board.instance.clone(),
        draining: board.is_draining(),
        rollouts: rollouts.map(|(shown, entry)| rollout(shown, &entry.table, &snapshot.series)).collect(),
        problems: snapshot.view.problems.clone(),
    }
}

fn rollout(shown: &crate::board::Shown, table: &Table, series: &[Arc<Series>]) -> RolloutStatus {
    let (namespace, name) = (shown.lane.namespace.clone(), shown.lane.rollout.clone());
    let mut in_flight: BTreeMap<String, u64> = table.revisions.iter().map(|r| (r.name.clone(), 0)).collect();
    for series in series.iter().filter(|s| s.key().namespace == namespace && s.key().rollout == name) {
        let count = series.in_flight();
        if count > 0 && !series.key().revision.is_empty() {
            in_flight.insert(series.key().revision.clone(), count);
        }
    }
    RolloutStatus {
        namespace,
        name,
        generation: table.generation,
        weights: weights(table),
        marked: table.marked.clone(),
        in_flight,
        endpoints: endpoints(table),
        listen: shown.listen.map(|address| address.to_string()),
    }
}

/// The share of each revision in percent. They add up to 100, whatever the weights add up to: what rounding down
/// leaves goes to the largest remainders.
pub(crate) fn weights(table: &Table) -> BTreeMap<String, u8> {
    let backends = table.split.and_then(|split| table.rules.get(split)).map(|rule| rule.backends.as_slice());
    let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
    for (revision, weight) in backends.unwrap_or_default() {
        *sums.entry(&table.revisions[*revision].name).or_default() += u64::from(*weight);
    }
    let total: u64 = sums.values().sum::<u64>().max(1);
    let mut shares: Vec<(&str, u64, u64)> =
        sums.iter().map(|(name, sum)| (*name, sum * 100 / total, sum * 100 % total)).collect();
    let rest = shares.iter().map(|(_, _, remainder)| remainder).sum::<u64>() / total;
    shares.sort_by_key(|(_, _, remainder)| std::cmp::Reverse(*remainder));
    let rest = usize::try_from(rest).unwrap_or(0);
    shares.iter_mut().take(rest).for_each(|(_, share, _)| *share += 1);
    shares.into_iter().map(|(name, share, _)| (name.to_owned(), u8::try_from(share).unwrap_or(100))).collect()
}

/// Ready endpoints of each revision.
pub(crate) fn endpoints(table: &Table) -> BTreeMap<String, u32> {
    let mut ready = BTreeMap::new();
    for revision in &table.revisions {
        let count = ready.entry(revision.name.clone()).or_insert(0);
        *count = revision.ready.max(*count);
    }
    ready
}
