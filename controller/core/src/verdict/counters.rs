//! From raw counters to what happened between two looks.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::sample::Counts;
use crate::time::Time;

/// Proxy instances that are remembered; more are an answer that can't be used.
pub const INSTANCES: usize = 1000;

/// The counters as they were last seen, per proxy instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Counters(BTreeMap<String, Known>);

/// The counters of one instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    #[serde(flatten)]
    counts: Counts,
    /// When they stood at this.
    #[serde(default)]
    at: Option<Time>,
}

/// What was added between two looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Added {
    /// All of it.
    pub all: Counts,
    /// The part that was surely added after a certain point in time.
    pub after: Counts,
}

impl Counters {
    /// Takes the counters as they stood at `at`, and gives what was added since the last ones; and how much of that
    /// was surely added after `since`.
    ///
    /// An instance that was not there before counts from zero: its series began at zero. One that fell began
    /// anew, so all it shows is new.
    pub fn advance(&mut self, now: &BTreeMap<String, Counts>, at: Time, since: Option<Time>) -> Added {
        let mut added = Added::default();
        for (instance, counts) in now {
            let before = self.0.get(instance).copied().unwrap_or_default();
            let new = added_to(before.counts, *counts);
            added.all = added.all.plus(new);
            if since.is_some_and(|since| before.at.is_some_and(|at| at >= since)) {
                added.after = added.after.plus(new);
            }
        }
        self.remember(now, at);
        added
    }

    /// Instances that left are remembered while there is room: a scrape may have missed them.
    fn remember(&mut self, now: &BTreeMap<String, Counts>, at: Time) {
        if self.0.len() + now.len() > INSTANCES {
            self.0.retain(|instance, _| now.contains_key(instance));
        }
        let known = |counts: &Counts| Known { counts: *counts, at: Some(at) };
        self.0.extend(now.iter().map(|(instance, counts)| (instance.clone(), known(counts))));
    }
}

fn added_to(before: Counts, now: Counts) -> Counts {
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

    fn counts(total: u64, bad: u64) -> Counts {
        Counts { total, bad }
    }

    #[test]
    fn what_was_there_at_the_first_look_counts_from_zero() {
        let added = Counters::default().advance(&at(&[("a", 5, 1), ("b", 7, 0)]), Time(9), Some(Time(0)));
        assert_eq!(added, Added { all: counts(12, 1), after: counts(0, 0) });
    }

    #[test]
    fn a_reset_counts_all_that_is_shown() {
        let mut counters = Counters::default();
        counters.advance(&at(&[("a", 100, 50)]), Time(1), None);
        assert_eq!(counters.advance(&at(&[("a", 3, 2)]), Time(2), None).all, counts(3, 2));
    }

    #[test]
    fn an_instance_missed_by_one_scrape_is_not_counted_twice() {
        let mut counters = Counters::default();
        counters.advance(&at(&[("a", 100, 0), ("b", 100, 0)]), Time(1), None);
        counters.advance(&at(&[("a", 101, 0)]), Time(2), None);
        let added = counters.advance(&at(&[("a", 101, 0), ("b", 102, 0)]), Time(3), None);
        assert_eq!(added.all, counts(2, 0));
    }

    #[test]
    fn what_a_missed_instance_counted_before_the_time_is_not_after_it() {
        let mut counters = Counters::default();
        counters.advance(&at(&[("a", 0, 0), ("b", 0, 0)]), Time(1), None);
        counters.advance(&at(&[("a", 1, 0)]), Time(5), None);
        let added = counters.advance(&at(&[("a", 11, 1), ("b", 70, 7)]), Time(7), Some(Time(4)));
        assert_eq!(added, Added { all: counts(80, 8), after: counts(10, 1) });
        let added = counters.advance(&at(&[("a", 11, 1), ("b", 75, 7)]), Time(8), Some(Time(4)));
        assert_eq!(added.after, counts(5, 0));
    }

    #[test]
    fn counters_of_a_memory_without_times_are_read() {
        let counters: Counters = serde_json::from_str(r#"{"a": {"total": 5, "bad": 1}}"#).unwrap();
        let again: Counters = serde_json::from_str(&serde_json::to_string(&counters).unwrap()).unwrap();
        assert_eq!((again.0["a"].counts, again), (counts(5, 1), counters));
    }
}
