//! A proxy: follows the route, has requests in flight, counts them.

use std::collections::{BTreeMap, VecDeque};

use super::world::Nature;
use crate::observation::Report;
use crate::revision::Revision;
use crate::sample::Counts;
use crate::split::Split;
use crate::strategy::Check;

/// Requests, failures and slow ones of each revision that have ended.
pub(crate) type Ended = BTreeMap<Revision, (u64, u64, u64)>;

/// One proxy.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proxy {
    pub(crate) split: Split,
    pub(crate) in_flight: BTreeMap<Revision, Vec<u8>>,
    /// Requests, failures and slow ones that have ended.
    pub(crate) ended: Ended,
    pub(crate) reports: VecDeque<Report>,
}

impl Proxy {
    pub(super) fn report(&self) -> Report {
        let in_flight = self.in_flight.iter().map(|(r, all)| (r.clone(), all.len() as u64)).collect();
        Report { split: self.split.clone(), in_flight }
    }

    pub(super) fn begin_requests(&mut self, rng: &mut fastrand::Rng) {
        for revision in self.split.weights.keys() {
            self.ended.entry(revision.clone()).or_default();
        }
        if self.split.weights.is_empty() {
            return;
        }
        for _ in 0..rng.u8(8..=16) {
            let marked = self.split.marked.clone().filter(|_| rng.u8(0..10) == 0);
            let revision = marked.unwrap_or_else(|| self.pick(rng.u8(0..100)));
            self.in_flight.entry(revision).or_default().push(rng.u8(0..4));
        }
    }

    fn pick(&self, mut dice: u8) -> Revision {
        for (revision, weight) in &self.split.weights {
            if dice < weight.percent() {
                return revision.clone();
            }
            dice -= weight.percent();
        }
        self.split.weights.keys().next().cloned().unwrap()
    }

    pub(super) fn end_requests(&mut self, natures: &BTreeMap<Revision, Nature>) {
        for (revision, all) in &mut self.in_flight {
            let nature = natures.get(revision).copied().unwrap_or(Nature::Healthy);
            let ended = self.ended.entry(revision.clone()).or_default();
            all.retain_mut(|left| {
                if *left > 0 {
                    *left -= 1;
                    return true;
                }
                ended.0 += 1;
                let every_other = !ended.0.is_multiple_of(2);
                ended.1 += u64::from(nature == Nature::Failing && every_other);
                ended.2 += u64::from(nature == Nature::Slow && every_other);
                false
            });
        }
        self.in_flight.retain(|_, all| !all.is_empty());
    }
}

/// Counters of one revision, as a metric counts them.
pub(crate) fn counted(check: &Check, ended: (u64, u64, u64)) -> Counts {
    let (total, failed, slow) = ended;
    Counts { total, bad: if matches!(check, Check::Latency { .. }) { slow } else { failed } }
}
