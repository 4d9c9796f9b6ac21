//! All Rollouts, one line each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use penstock_crds::time_of;
use penstock_crds::words::{Urgency, clean, sentence};
use penstock_signals::RolloutName;
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::status;

/// Most lines in one answer; the most urgent ones.
const MOST: usize = 200;

/// One Rollout in a line.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Summary {
    #[serde(skip)]
    pub(crate) rank: Urgency,
    pub(crate) namespace: String,
    pub(crate) name: String,
    phase: &'static str,
    /// `person`, `look`, `under-way`, `rest`.
    urgency: &'static str,
    message: String,
    step: Option<String>,
    /// Share of the canary in percent, while there is one.
    weight: Option<i32>,
    stable: Option<String>,
    canary: Option<String>,
    ready: Option<String>,
    /// When something was decided last, in milliseconds since 1970.
    since: Option<u64>,
    /// The last decision as a sentence.
    last: Option<String>,
}

/// Rollouts that a person may see.
#[derive(Debug, Serialize)]
pub(crate) struct Listing {
    v: u32,
    /// All that there are.
    total: usize,
    /// Those in which the words were found.
    found: usize,
    /// How many of all there are by urgency.
    counts: BTreeMap<&'static str, usize>,
    /// The most urgent first.
    #[serde(serialize_with = "in_order")]
    items: Vec<Arc<Summary>>,
}

fn in_order<S: Serializer>(items: &[Arc<Summary>], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(items.iter().map(|item| &**item))
}

/// One Rollout in a line.
pub(crate) fn summary(object: &Value, name: &RolloutName) -> Summary {
    let status = status(object);
    let urgency = Urgency::of(&status);
    let columns = status.columns.clone().unwrap_or_default();
    let released = status.canary_revision.is_some() && status.stable_revision.is_some();
    let last = status.decisions.last();
    Summary {
        rank: urgency,
        namespace: name.namespace.clone(),
        name: name.name.clone(),
        phase: status.phase.as_str(),
        urgency: urgency.as_str(),
        message: clean(status.message.as_deref().unwrap_or("nothing was decided yet")),
        step: columns.step,
        weight: status.split.as_ref().filter(|_| released).map(|split| split.weight),
        stable: status.stable_revision.clone(),
        canary: status.canary_revision.clone().filter(|_| released),
        ready: columns.ready,
        since: last.and_then(|decision| decision.time.as_ref()).map(|time| time_of(time).0),
        last: last.map(sentence),
    }
}

/// The namespaces in which there are any.
pub(crate) fn namespaces(all: &[Arc<Summary>]) -> BTreeSet<String> {
    all.iter().map(|summary| summary.namespace.clone()).collect()
}

/// Those whose names have these words in them.
pub(crate) fn listing(all: Vec<Arc<Summary>>, words: &str) -> Listing {
    let total = all.len();
    let mut counts: BTreeMap<&'static str, usize> = BTreeMap::new();
    all.iter().for_each(|summary| *counts.entry(summary.urgency).or_default() += 1);
    let words: Vec<String> = words.split_whitespace().map(str::to_lowercase).collect();
    let has = |summary: &Arc<Summary>| {
        let text = format!("{}/{} {}", summary.namespace, summary.name, summary.phase).to_lowercase();
        words.iter().all(|word| text.contains(word))
    };
    let mut items: Vec<_> = all.into_iter().filter(has).collect();
    let found = items.len();
    items.truncate(MOST);
    Listing { v: 1, total, found, counts, items }
}
