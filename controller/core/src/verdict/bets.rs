//! Testing by betting: evidence on counts that one may look at after every request.
//!
//! The null hypothesis: the share of bad requests is at most `p`. For each alternative `q > p` a bet multiplies
//! its wealth by `q/p` at a bad request and by `(1−q)/(1−p)` at a good one. Under the null hypothesis the wealth
//! is a supermartingale with mean at most 1, so by Ville's inequality the chance that it ever reaches `1/α` is at
//! most `α`, however often one looks (Shafer 2021, "Testing by betting"; Ramdas et al. 2023, "Game-theoretic
//! statistics and safe anytime-valid inference").
//!
//! A bet that started once goes blind: after a long healthy time it has nothing left to bet. So a new bet starts
//! before every measurement `k`, with the share `1/(k(k+1))` of the starting capital; the shares add up to 1, so
//! the bound holds. All bets on one alternative are multiplied alike from then on, so their sum is one number:
//! memory does not grow.

use serde::{Deserialize, Serialize};

use crate::sample::Counts;

/// Alternatives in multiples of the limit; a share of 100 % is always among them.
const MULTIPLES: [f64; 5] = [2.0, 5.0, 10.0, 20.0, 50.0];
/// Keeps logarithms finite, so that they survive JSON.
const FLOOR: f64 = -1e9;
/// The smallest limit that can be bet against: a limit of zero is taken for one in a billion.
const SMALLEST: f64 = 1e-9;

/// The bets against one limit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bets {
    /// Measurements that were bet on.
    measurements: u64,
    /// Logarithm of the wealth on each alternative.
    wealth: Vec<f64>,
}

impl Bets {
    /// Takes one measurement: requests since the one before. `limit`: largest share of bad ones allowed, in [0, 1).
    pub fn fold(&mut self, limit: f64, counts: Counts) {
        if counts.total == 0 {
            return;
        }
        let limit = limit.clamp(SMALLEST, 1.0 - SMALLEST);
        let number = alternatives(limit).count();
        self.wealth.resize(number, FLOOR);
        self.measurements += 1;
        let stake = share(self.measurements).ln() - (number as f64).ln();
        for (wealth, q) in self.wealth.iter_mut().zip(alternatives(limit)) {
            *wealth = (add(*wealth, stake) + gain(limit, q, counts)).clamp(FLOOR, -FLOOR);
        }
    }

    /// Natural logarithm of the evidence against the limit: of all wealth, that of bets not yet begun included.
    pub fn evidence(&self) -> f64 {
        let reserve = 1.0 / (self.measurements as f64 + 1.0);
        self.wealth.iter().copied().fold(reserve.ln(), add)
    }

    /// Whether the limit is refuted at level `alpha`, in (0, 1).
    pub fn refute(&self, alpha: f64) -> bool {
        self.evidence() >= -alpha.ln()
    }
}

fn alternatives(limit: f64) -> impl Iterator<Item = f64> {
    let below_one = MULTIPLES.into_iter().map(move |m| m * limit).filter(|q| *q < 1.0);
    below_one.chain([1.0])
}

fn share(k: u64) -> f64 {
    let k = k as f64;
    1.0 / (k * (k + 1.0))
}

/// Logarithm of what a bet on `q` against `p` is multiplied by.
fn gain(p: f64, q: f64, counts: Counts) -> f64 {
    let bad = counts.bad.min(counts.total);
    let good = counts.total - bad;
    let lost = if good == 0 { 0.0 } else { good as f64 * ((1.0 - q) / (1.0 - p)).ln() };
    bad as f64 * (q / p).ln() + lost
}

/// `ln(e^a + e^b)` without leaving the range of numbers.
fn add(a: f64, b: f64) -> f64 {
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    high + (low - high).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn batches(total: u64, bad: u64) -> Counts {
        Counts { total, bad }
    }

    fn until_refuted(mut next: impl FnMut() -> bool, before: Bets) -> u64 {
        let mut bets = before;
        for request in 1..=100_000 {
            bets.fold(0.01, batches(1, u64::from(next())));
            if bets.refute(0.001) {
                return request;
            }
        }
        u64::MAX
    }

    #[test]
    fn total_failure_is_refuted_within_three_requests() {
        assert!(until_refuted(|| true, Bets::default()) <= 3);
    }

    #[test]
    fn a_break_after_an_hour_of_health_is_still_seen() {
        let mut bets = Bets::default();
        (0..3600).for_each(|_| bets.fold(0.01, batches(10, 0)));
        assert!(until_refuted(|| true, bets) <= 20);
    }

    #[test]
    fn evidence_starts_at_one_and_silence_does_not_move_it() {
        let mut bets = Bets::default();
        bets.fold(0.01, batches(0, 0));
        assert_eq!(bets.evidence(), 0.0);
        assert_eq!(bets, Bets::default());
    }

    #[test]
    fn a_limit_of_zero_is_refuted_by_the_first_failure() {
        let mut bets = Bets::default();
        bets.fold(0.0, batches(1_000_000, 0));
        assert!(!bets.refute(0.001));
        bets.fold(0.0, batches(1, 1));
        assert!(bets.refute(0.001));
    }

    #[test]
    fn a_share_exactly_at_a_round_limit_brings_no_evidence() {
        let mut bets = Bets::default();
        (0..1000).for_each(|_| bets.fold(0.01, batches(100, 1)));
        assert!(!bets.refute(0.001));
    }

    /// The mean wealth under the null hypothesis, summed exactly over all outcomes of three measurements.
    #[test]
    fn under_the_limit_the_mean_wealth_stays_one() {
        let p: f64 = 0.1;
        let mut mean = 0.0;
        for outcome in 0..8u32 {
            let mut bets = Bets::default();
            let mut chance = 1.0;
            for k in 0..3 {
                let bad = outcome >> k & 1 == 1;
                chance *= if bad { p } else { 1.0 - p };
                bets.fold(p, batches(1, u64::from(bad)));
            }
            mean += chance * bets.evidence().exp();
        }
        assert!((mean - 1.0).abs() < 1e-9, "mean {mean}");
    }

    proptest! {
        #[test]
        fn any_counts_leave_finite_numbers(rounds in proptest::collection::vec((any::<u64>(), any::<u64>()), 0..40),
                                           limit in -0.5f64..1.5) {
            let mut bets = Bets::default();
            for (total, bad) in rounds {
                bets.fold(limit, batches(total, bad));
                prop_assert!(bets.evidence().is_finite());
                prop_assert!(bets.wealth.iter().all(|w| w.is_finite()));
            }
        }
    }
}
