//! From the raw series of proxy instances to counter pairs. Both sources end here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use penstock_core::sample::{Counts, NoData, Reading};
use penstock_proxy_api::Culprit;

/// Above this a float no longer tells neighbouring whole numbers apart.
const LARGEST_WHOLE: f64 = 9_007_199_254_740_992.0;

/// Ended requests of one instance by culprit, as far as they were told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ended {
    well: Option<u64>,
    badly: Option<u64>,
}

impl Ended {
    /// Takes a counter. Of the same counter told twice the larger is the newer. Other culprits say nothing.
    pub(crate) fn tell(&mut self, culprit: &str, count: u64) {
        if culprit == Culprit::None.as_str() {
            self.well = self.well.max(Some(count));
        } else if culprit == Culprit::Upstream.as_str() {
            self.badly = self.badly.max(Some(count));
        }
    }
}

/// Upper edge of a histogram's bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Edge {
    At(Duration),
    Infinite,
}

impl Edge {
    /// Reads the label `le`, in seconds.
    pub(crate) fn parse(le: &str) -> Option<Edge> {
        let seconds: f64 = le.parse().ok()?;
        if seconds == f64::INFINITY {
            return Some(Edge::Infinite);
        }
        Duration::try_from_secs_f64(seconds).ok().map(Edge::At)
    }
}

/// Why a bucket can't be used.
pub(crate) fn no_edge(instance: &str, le: &str) -> NoData {
    NoData(format!("proxy {instance} has a histogram bucket with the edge `{le}`, which is no number"))
}

/// Cumulative histogram of one instance.
pub(crate) type Buckets = BTreeMap<Edge, u64>;

/// A counter's value as a whole number; `None` for what no counter can have.
pub(crate) fn whole(value: f64) -> Option<u64> {
    let fits = (0.0..=LARGEST_WHOLE).contains(&value) && value.fract() == 0.0;
    fits.then_some(value as u64)
}

/// What was told of each proxy instance, and why nothing was of those that are missing.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Told<T> {
    pub(crate) instances: BTreeMap<String, T>,
    pub(crate) missing: BTreeMap<String, NoData>,
}

impl<T> Told<T> {
    /// Takes what one instance told.
    pub(crate) fn take(&mut self, instance: String, told: Result<T, NoData>) {
        match told {
            Ok(told) => _ = self.instances.insert(instance, told),
            Err(why) => _ = self.missing.insert(instance, why),
        }
    }

    /// Goes on with those instances for which it works.
    pub(crate) fn and_then<U>(self, each: impl Fn(&str, T) -> Result<U, NoData>) -> Told<U> {
        let mut told = Told { instances: BTreeMap::new(), missing: self.missing };
        for (instance, value) in self.instances {
            let result = each(&instance, value);
            told.take(instance, result);
        }
        told
    }

    /// Errors: nobody has told anything; why the first one has not.
    fn or_none(self) -> Result<Told<T>, NoData> {
        match self.missing.values().next() {
            Some(why) if self.instances.is_empty() => Err(why.clone()),
            Some(_) | None => Ok(self),
        }
    }
}

/// Counter pairs for errors: those that ended well or by the revision's fault, and the latter.
pub(crate) fn errors(told: Told<Ended>) -> Result<Reading, NoData> {
    let pair = |instance: &str, ended: Ended| match (ended.well, ended.badly) {
        (Some(well), Some(bad)) => Ok(Counts { total: well.saturating_add(bad), bad }),
        _ => Err(NoData(format!(
            "half an answer: proxy {instance} tells only some of its request counters; \
             do relabelling rules drop series by `culprit`?"
        ))),
    };
    let Told { instances, missing } = told.and_then(pair).or_none()?;
    Ok(Reading::Counts { instances, edge: None, missing })
}

/// Counter pairs for latency: all, and those above the smallest edge that every instance has at or above `limit`.
pub(crate) fn slower(limit: Duration, told: Told<Buckets>) -> Result<Reading, NoData> {
    let told = told.and_then(complete).or_none()?;
    let edge = common_edge(limit, &told.instances)?;
    let pair =
        |instance: &str, buckets: Buckets| match (buckets.get(&Edge::Infinite), buckets.get(&Edge::At(edge)))
        {
            (Some(&total), Some(&within)) => Ok(Counts { total, bad: total.saturating_sub(within) }),
            (None, _) | (_, None) => Err(incomplete(instance)),
        };
    let Told { instances, missing } = told.and_then(pair).or_none()?;
    Ok(Reading::Counts { instances, edge: (edge != limit).then_some(edge), missing })
}

/// A histogram has a last bucket, and none is larger than it.
fn complete(instance: &str, buckets: Buckets) -> Result<Buckets, NoData> {
    let whole = buckets.get(&Edge::Infinite).is_some_and(|total| buckets.values().all(|n| n <= total));
    if whole { Ok(buckets) } else { Err(incomplete(instance)) }
}

fn incomplete(instance: &str) -> NoData {
    NoData(format!(
        "the latency histogram of proxy {instance} is incomplete or contradicts itself; \
         do relabelling rules drop series by `le`?"
    ))
}

fn common_edge(limit: Duration, instances: &BTreeMap<String, Buckets>) -> Result<Duration, NoData> {
    let mut sets = instances.values().map(|buckets| finite_edges(limit, buckets));
    let first = sets.next().unwrap_or_default();
    let common = sets.fold(first, |common, edges| common.intersection(&edges).copied().collect());
    common.first().copied().ok_or_else(|| {
        NoData(format!(
            "the latency histograms of the proxies have no common edge at or above {limit:?}; \
             list the limit in the HTTPRoute's annotation {}",
            penstock_proxy_api::object::LATENCY_LIMITS
        ))
    })
}

fn finite_edges(limit: Duration, buckets: &Buckets) -> BTreeSet<Duration> {
    let finite = |edge: &Edge| match edge {
        Edge::At(at) if *at >= limit => Some(*at),
        Edge::At(_) | Edge::Infinite => None,
    };
    buckets.keys().filter_map(finite).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs(reading: Reading) -> Vec<Counts> {
        match reading {
            Reading::Counts { instances, .. } => instances.into_values().collect(),
            Reading::Value(value) => panic!("a value, {value}"),
        }
    }

    fn told<T>(instances: BTreeMap<String, T>) -> Told<T> {
        Told { instances, missing: BTreeMap::new() }
    }

    fn any_buckets() -> impl Strategy<Value = Buckets> {
        let edge = prop_oneof![4 => (0u64..40).prop_map(|ms| Edge::At(Duration::from_millis(ms * 50))), 1 => Just(Edge::Infinite)];
        prop::collection::btree_map(edge, 0u64..1000, 0..8)
    }

    proptest! {
        #[test]
        fn bad_is_at_most_total_or_there_is_no_data(
            instances in prop::collection::btree_map("[a-c]", any_buckets(), 0..4), limit in 0u64..2500
        ) {
            if let Ok(reading) = slower(Duration::from_millis(limit), told(instances)) {
                prop_assert!(pairs(reading).iter().all(|c| c.bad <= c.total));
            }
        }

        #[test]
        fn the_edge_in_use_is_never_below_the_limit(
            instances in prop::collection::btree_map("[a-c]", any_buckets(), 1..4), limit in 0u64..2500
        ) {
            let limit = Duration::from_millis(limit);
            if let Ok(Reading::Counts { edge: Some(edge), .. }) = slower(limit, told(instances)) {
                prop_assert!(edge > limit);
            }
        }

        #[test]
        fn errors_are_part_of_all_requests(well in any::<u64>(), badly in any::<u64>()) {
            let mut ended = Ended::default();
            ended.tell("none", well);
            ended.tell("upstream", badly);
            let reading = errors(told(BTreeMap::from([("a".to_owned(), ended)]))).unwrap();
            prop_assert!(pairs(reading).iter().all(|c| c.bad <= c.total));
        }
    }

    #[test]
    fn only_counts_are_counters() {
        for (value, count) in [(0.0, Some(0)), (7.0, Some(7)), (LARGEST_WHOLE, Some(1 << 53))] {
            assert_eq!(whole(value), count);
        }
        for value in [-1.0, 0.5, f64::NAN, f64::INFINITY, 1e300] {
            assert_eq!(whole(value), None, "{value}");
        }
    }
}
