//! Which backend the n-th request goes to: exact shares without dice.
//!
//! Requests are numbered by one shared counter and grouped into frames of 1,000. With weights `w` that sum to `W`,
//! backend `i` is owed `1000·w/W = q + r/W` requests a frame, `0 ≤ r < W`. Each frame is laid out alike: `q` slots
//! of each backend, spread evenly, and `m = Σr/W` free slots for the remainders.
//!
//! **Why no window of 1,000 is ever off by more than one request.** Such a window holds each slot of the frame
//! exactly once, so backend `i` gets its `q`, and its deviation is at most 1 if it gets 0 or 1 of the `m` free
//! slots. The remainders lie one after the other on a circle of `m·W` points, each shorter than `W`; free slot `j`
//! of frame `t` takes the backend at point `j·W − t·d`. The free slots of a window, some of frame `t` and the later
//! ones of it from before, lie at least `W − d` apart on the circle, and no remainder is longer than `W − d`, so no
//! two of them take the same backend.
//!
//! **Why the shares are exact in the long run.** `d` and `W` have no common factor, so in `W` frames the free slots
//! visit each point of the circle once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Length of the window in which no backend's share is off by more than one request.
pub const FRAME: u64 = 1000;

/// The number of the next request. Survives new tables, so that a reload never restarts the sequence.
#[derive(Debug, Default)]
pub struct Turn(AtomicU64);

impl Turn {
    /// Starts somewhere in a frame, so that the proxies of a Rollout don't walk in step.
    pub fn starting_at(random: u64) -> Turn {
        Turn(AtomicU64::new(random % FRAME))
    }

    /// Takes the next number. Never waits.
    pub fn take(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// A sequence and the counter that walks it.
#[derive(Clone, Debug)]
pub struct Split {
    sequence: Sequence,
    turn: Arc<Turn>,
    phase: u64,
}

impl Split {
    /// Divides requests by weight; `None` if no weight is above 0. Only proportions matter. `phase` shifts the
    /// sequence: without it, weights that change often, in step with the traffic, could favour a backend.
    pub fn new(weights: &[u32], turn: Arc<Turn>, phase: u64) -> Option<Split> {
        Some(Split { sequence: Sequence::new(weights)?, turn, phase: phase % (FRAME * FRAME) })
    }

    /// The index of the next request's backend.
    pub fn next(&self) -> usize {
        self.sequence.at(self.turn.take() + self.phase)
    }
}

/// Who gets which request, for all requests.
#[derive(Clone, Debug)]
pub struct Sequence {
    /// Below `backends`: that backend. From there on: free slot number `entry - backends`.
    frame: Box<[u16]>,
    backends: usize,
    remainders: Remainders,
}

impl Sequence {
    /// Lays out the sequence; `None` if no weight is above 0, or if there are more than 10,000 weights.
    pub fn new(weights: &[u32]) -> Option<Sequence> {
        let total: u64 = weights.iter().copied().map(u64::from).sum();
        if total == 0 || weights.len() > 10_000 {
            return None;
        }
        let owed = |w: &u32| u64::from(*w) * FRAME;
        let whole: Vec<u64> = weights.iter().map(|w| owed(w) / total).collect();
        let remainders = Remainders::new(weights.iter().map(|w| owed(w) % total).collect(), total);
        Some(Sequence { frame: lay_out(whole, remainders.free), backends: weights.len(), remainders })
    }

    /// The index of the backend of request `n`.
    pub fn at(&self, n: u64) -> usize {
        let slot = usize::try_from(n % FRAME).unwrap_or(0);
        let entry = usize::from(self.frame[slot]);
        match entry.checked_sub(self.backends) {
            None => entry,
            Some(free) => self.remainders.at(n / FRAME, free as u64),
        }
    }
}

/// The free slots: who takes them in which frame.
#[derive(Clone, Debug)]
struct Remainders {
    /// Where each backend's remainder ends on the circle.
    ends: Box<[u64]>,
    /// `W`: distance of two free slots of a frame on the circle.
    total: u64,
    /// `m`: free slots in a frame.
    free: u64,
    /// `d`: how far the free slots move from frame to frame.
    step: u64,
}

impl Remainders {
    fn new(mut remainders: Vec<u64>, mut total: u64) -> Remainders {
        let divisor = remainders.iter().copied().fold(total, common_divisor);
        remainders.iter_mut().chain([&mut total]).for_each(|n| *n /= divisor);
        let longest = remainders.iter().copied().max().unwrap_or(0);
        let ends: Box<[u64]> = remainders
            .iter()
            .scan(0, |end, r| {
                *end += r;
                Some(*end)
            })
            .collect();
        let free = ends.last().copied().unwrap_or(0) / total;
        Remainders { ends, total, free, step: step(total, free, longest) }
    }

    fn at(&self, frame: u64, slot: u64) -> usize {
        let circle = self.free * self.total;
        let moved = (frame % circle) * self.step % circle;
        let point = (slot * self.total + circle - moved) % circle;
        self.ends.partition_point(|end| *end <= point)
    }
}

/// The largest step up to the golden section of `total` that keeps the free slots of a window apart and visits all
/// points. A single free slot has none to be kept apart from.
fn step(total: u64, free: u64, longest: u64) -> u64 {
    let golden = total * 382 / 1000;
    let bound = if free > 1 { golden.min(total - longest) } else { golden };
    (1..=bound).rev().find(|d| common_divisor(*d, total) == 1).unwrap_or(1)
}

fn common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

/// Spreads `counts`, and `free` slots after them, over a frame: a slot goes to whoever is due and has the earliest
/// deadline (Baruah et al., "Proportionate progress", 1996), so that every prefix is off by less than one.
fn lay_out(mut counts: Vec<u64>, free: u64) -> Box<[u16]> {
    let backends = counts.len();
    counts.push(free);
    let mut used = vec![0u64; counts.len()];
    (0..FRAME)
        .map(|slot| {
            let next = earliest_deadline(&counts, &used, slot);
            used[next] += 1;
            let entry = if next == backends { backends as u64 + used[next] - 1 } else { next as u64 };
            u16::try_from(entry).unwrap_or(0)
        })
        .collect()
}

fn earliest_deadline(counts: &[u64], used: &[u64], slot: u64) -> usize {
    let due = |i: &usize| counts[*i] > used[*i] && used[*i] * FRAME / counts[*i] <= slot;
    let deadline = |i: &usize| ((used[*i] + 1) * FRAME).div_ceil(counts[*i]);
    (0..counts.len()).filter(due).min_by_key(deadline).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Largest deviation from the weights in any window of `FRAME` among `requests`.
    fn worst(weights: &[u32], requests: &[usize]) -> f64 {
        let total: f64 = weights.iter().copied().map(f64::from).sum();
        let window = FRAME as usize;
        let mut worst = 0f64;
        for (backend, weight) in weights.iter().enumerate() {
            let owed = f64::from(*weight) * FRAME as f64 / total;
            let mut got = requests[..window].iter().filter(|r| **r == backend).count() as f64;
            worst = worst.max((got - owed).abs());
            for end in window..requests.len() {
                got += f64::from(u8::from(requests[end] == backend));
                got -= f64::from(u8::from(requests[end - window] == backend));
                worst = worst.max((got - owed).abs());
            }
        }
        worst
    }

    fn weights() -> impl Strategy<Value = Vec<u32>> {
        let weight = prop_oneof![Just(0u32), Just(1), 1..=100u32, 1..=1_000_000u32, Just(1_000_000)];
        prop::collection::vec(weight, 1..=16).prop_filter("some weight", |w| w.iter().any(|w| *w > 0))
    }

    proptest! {
        #[test]
        fn no_window_of_1000_is_off_by_more_than_one(weights in weights(), start in 0..u64::MAX / 4) {
            let sequence = Sequence::new(&weights).unwrap();
            let requests: Vec<usize> = (start..start + 5 * FRAME).map(|n| sequence.at(n)).collect();
            prop_assert!(worst(&weights, &requests) <= 1.0 + 1e-9);
        }

        #[test]
        fn no_backend_with_weight_0_gets_a_request(weights in weights(), n in any::<u64>()) {
            let sequence = Sequence::new(&weights).unwrap();
            prop_assert!(weights[sequence.at(n)] > 0);
        }

        #[test]
        fn shares_are_exact_in_the_long_run(weights in prop::collection::vec(0..=60u32, 1..=6)) {
            prop_assume!(weights.iter().any(|w| *w > 0));
            let total: u64 = weights.iter().copied().map(u64::from).sum();
            let sequence = Sequence::new(&weights).unwrap();
            let mut got = vec![0u64; weights.len()];
            (0..total * FRAME).for_each(|n| got[sequence.at(n)] += 1);
            let owed: Vec<u64> = weights.iter().map(|w| u64::from(*w) * FRAME).collect();
            prop_assert_eq!(got, owed);
        }

        #[test]
        fn ten_percent_is_one_in_any_ten(start in any::<u32>()) {
            let sequence = Sequence::new(&[90, 10]).unwrap();
            let start = u64::from(start);
            prop_assert_eq!((start..start + 10).filter(|n| sequence.at(*n) == 1).count(), 1);
        }

        #[test]
        fn short_windows_are_even_too(weights in prop::collection::vec(0..=100u32, 2..=4), len in 1..=1000usize) {
            prop_assume!(weights.iter().any(|w| *w > 0));
            let total: f64 = weights.iter().copied().map(f64::from).sum();
            let sequence = Sequence::new(&weights).unwrap();
            for start in 0..200 {
                let mut got = vec![0u32; weights.len()];
                (start..start + len as u64).for_each(|n| got[sequence.at(n)] += 1);
                for (got, weight) in got.iter().zip(&weights) {
                    let owed = len as f64 * f64::from(*weight) / total;
                    prop_assert!((f64::from(*got) - owed).abs() <= 4.0);
                }
            }
        }
    }

    #[test]
    fn one_in_a_million_gets_its_request() {
        let sequence = Sequence::new(&[999_999, 1]).unwrap();
        assert_eq!((0..1_000_000).filter(|n| sequence.at(*n) == 1).count(), 1);
    }

    #[test]
    fn four_threads_on_one_counter_keep_the_split_exact() {
        let split = Split::new(&[70, 20, 7, 3], Arc::default(), 0).unwrap();
        let count = |split: &Split| {
            let mut got = [0u32; 4];
            (0..25_000).for_each(|_| got[split.next()] += 1);
            got
        };
        let got = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| count(&split))).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect::<Vec<_>>()
        });
        let sum = |i: usize| got.iter().map(|g| g[i]).sum::<u32>();
        assert_eq!([sum(0), sum(1), sum(2), sum(3)], [70_000, 20_000, 7_000, 3_000]);
    }

    #[test]
    fn many_changes_of_weight_do_not_starve_the_canary() {
        let turn = Arc::new(Turn::default());
        let mut canary = 0;
        for change in 0..2_000u32 {
            let phase = crate::cohort::hash(&[&change.to_le_bytes()]);
            let split = Split::new(&[90 - change % 2, 10 + change % 2], Arc::clone(&turn), phase).unwrap();
            canary += (0..5).filter(|_| split.next() == 1).count();
        }
        assert!((950..=1150).contains(&canary), "{canary} of 10,000 at 10 to 11 %");
    }

    #[test]
    fn no_weight_at_all_is_no_split() {
        assert!(Sequence::new(&[]).is_none());
        assert!(Sequence::new(&[0, 0]).is_none());
    }
}
