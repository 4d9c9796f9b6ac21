//! From raw counters to what happened between two looks.

use std::collections::BTreeMap;

use penstock_core::sample::Counts;
use penstock_signals::proxy::Traffic;

use super::Flow;

/// What happened at all proxies between two looks.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Passed {
    ended: Counts,
    within: Vec<(f64, u64)>,
}

/// What a revision has counted at each proxy.
pub(super) type Told<'a> = BTreeMap<&'a str, &'a Traffic>;

impl Passed {
    /// A counter that went down began anew at zero. What a proxy had counted before it was known is not counted, unless
    /// `new` says that the revision is new to a proxy that was known.
    pub(super) fn between(before: &Told<'_>, now: &Told<'_>, new: impl Fn(&str) -> bool) -> Passed {
        let mut passed = Passed::default();
        let zero = Traffic::default();
        for (instance, now) in now {
            let before = match before.get(instance) {
                Some(before) => *before,
                None if new(instance) => &zero,
                None => continue,
            };
            passed.add(if now.ended.total < before.ended.total { &zero } else { before }, now);
        }
        passed
    }

    fn add(&mut self, before: &Traffic, now: &Traffic) {
        let ended = Counts {
            total: now.ended.total.saturating_sub(before.ended.total),
            bad: now.ended.bad.saturating_sub(before.ended.bad),
        };
        self.ended = self.ended.plus(ended);
        for (edge, count) in &now.within {
            let known = before.within.iter().find(|(e, _)| e == edge).map_or(0, |(_, count)| *count);
            let more = count.saturating_sub(known);
            match self.within.iter_mut().find(|(e, _)| e == edge) {
                Some((_, sum)) => *sum = sum.saturating_add(more),
                None => self.within.push((*edge, more)),
            }
        }
    }

    /// Over so many seconds.
    pub(super) fn flow(mut self, seconds: f64, quantile: f64) -> Flow {
        let Counts { total, bad } = self.ended;
        self.within.sort_by(|a, b| a.0.total_cmp(&b.0));
        Flow {
            rate: total as f64 / seconds.max(0.001),
            errors: (total > 0).then(|| 100.0 * bad as f64 / total as f64),
            latency: latency(&self.within, quantile).map(|seconds| seconds * 1000.0),
        }
    }
}

/// A quantile of a cumulative histogram, in seconds: even within a bucket, as Prometheus has it; beyond the last edge,
/// that edge.
fn latency(within: &[(f64, u64)], quantile: f64) -> Option<f64> {
    let total = within.last().filter(|(edge, total)| edge.is_infinite() && *total > 0)?.1;
    let rank = quantile * total as f64;
    let (mut from, mut below) = (0.0, 0);
    for &(edge, count) in within {
        if count as f64 >= rank && count > below {
            let share = (rank - below as f64) / (count - below) as f64;
            return Some(if edge.is_infinite() {
                from
            } else {
                from + (edge - from) * share.clamp(0.0, 1.0)
            });
        }
        if edge.is_finite() {
            from = edge;
        }
        below = below.max(count);
    }
    Some(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traffic(total: u64, bad: u64, within: &[(f64, u64)]) -> Traffic {
        Traffic { ended: Counts { total, bad }, within: within.to_vec() }
    }

    #[test]
    fn what_passed_is_the_difference_of_all_proxies() {
        let (a0, a1) = (
            traffic(100, 1, &[(0.1, 90), (f64::INFINITY, 100)]),
            traffic(200, 21, &[(0.1, 180), (f64::INFINITY, 200)]),
        );
        let (b0, b1) = (
            traffic(50, 0, &[(0.1, 50), (f64::INFINITY, 50)]),
            traffic(150, 0, &[(0.1, 150), (f64::INFINITY, 150)]),
        );
        let passed =
            Passed::between(&[("a", &a0), ("b", &b0)].into(), &[("a", &a1), ("b", &b1)].into(), |_| false);
        let flow = passed.flow(2.0, 0.5);
        assert_eq!((flow.rate, flow.errors), (100.0, Some(10.0)));
        assert!(flow.latency.is_some_and(|ms| ms > 50.0 && ms < 60.0), "{flow:?}");
    }

    #[test]
    fn a_proxy_that_began_anew_counts_from_zero_and_one_that_was_not_known_not_yet() {
        let (before, after) = (traffic(1000, 10, &[]), traffic(7, 7, &[]));
        let passed =
            Passed::between(&[("a", &before)].into(), &[("a", &after), ("b", &before)].into(), |_| false);
        assert_eq!(passed.ended, Counts { total: 7, bad: 7 });
        let passed = Passed::between(&Told::new(), &[("a", &after)].into(), |_| true);
        assert_eq!(passed.ended.total, 7, "a revision that is new to a known proxy");
    }

    #[test]
    fn a_quantile_lies_within_its_bucket_and_never_beyond_the_last_edge() {
        let within = [(0.1, 50), (0.2, 100), (f64::INFINITY, 100)];
        assert_eq!(latency(&within, 0.5), Some(0.1));
        assert!(latency(&within, 0.75).is_some_and(|s| (s - 0.15).abs() < 1e-9));
        assert_eq!(latency(&[(0.1, 0), (0.2, 0), (f64::INFINITY, 9)], 0.99), Some(0.2));
        assert_eq!(latency(&[(0.1, 0), (f64::INFINITY, 0)], 0.99), None);
        assert_eq!(latency(&[], 0.99), None);
    }
}
