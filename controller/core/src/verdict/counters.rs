//! From raw counters to what happened between two looks.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::sample::Counts;

/// Proxy instances that are remembered; more are an answer that can't be used.
pub const INSTANCES: usize = 1000;

/// The counters as they were last seen, per proxy instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Counters(BTreeMap<String, Counts>);

impl Counters {
    /// Takes the present counters and gives what was added since the last ones.
    ///
    /// An instance that was not there before counts from zero: its series began at zero. One that fell began
    /// anew, so all it shows is new.
    pub fn advance(&mut self, now: &BTreeMap<String, Counts>) -> Counts {
        let mut sum = Counts::default();
        for (instance, counts) in now {
            let before = self.0.get(instance).copied().unwrap_or_default();
            let new = added(before, *counts);
            sum.total = sum.total.saturating_add(new.total);
            sum.bad = sum.bad.saturating_add(new.bad);
        }
        self.remember(now);
        sum
    }

    /// Instances that left are remembered while there is room: a scrape may have missed them.
    fn remember(&mut self, now: &BTreeMap<String, Counts>) {
        if self.0.len() + now.len() > INSTANCES {
            self.0.retain(|instance, _| now.contains_key(instance));
        }
        self.0.extend(now.iter().map(|(instance, counts)| (instance.clone(), *counts)));
    }
}

fn added(before: Counts, now: Counts) -> Counts {
    if now.total < before.total {
        return now;
    }
    let total = now.total - before.total;
    Counts { total, bad: now.bad.saturating_sub(before.bad).min(total) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(instances: &[(&str, u64, u64)]) -> BTreeMap<String, Counts> {
        instances
            .iter()
            .map(|(name, total, bad)| ((*name).into(), Counts { total: *total, bad: *bad }))
            .collect()
    }

    #[test]
    fn what_was_there_at_the_first_look_counts_from_zero() {
        assert_eq!(
            Counters::default().advance(&at(&[("a", 5, 1), ("b", 7, 0)])),
            Counts { total: 12, bad: 1 }
        );
    }

    #[test]
    fn a_reset_counts_all_that_is_shown() {
        let mut counters = Counters::default();
        counters.advance(&at(&[("a", 100, 50)]));
        assert_eq!(counters.advance(&at(&[("a", 3, 2)])), Counts { total: 3, bad: 2 });
    }

    #[test]
    fn an_instance_missed_by_one_scrape_is_not_counted_twice() {
        let mut counters = Counters::default();
        counters.advance(&at(&[("a", 100, 0), ("b", 100, 0)]));
        counters.advance(&at(&[("a", 101, 0)]));
        assert_eq!(counters.advance(&at(&[("a", 101, 0), ("b", 102, 0)])), Counts { total: 2, bad: 0 });
    }
}
