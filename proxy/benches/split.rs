//! Measures the split: the largest deviation from the weights in any window of 1,000 requests, for random weight
//! sets, with four threads on the shared counter. Exits with 1 if it is above one request.
//!
//! `cargo bench -p penstock-proxy --bench split`; `SEED=n` repeats a run.

use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use penstock_proxy_core::split::{FRAME, Sequence, Turn};

const SETS: usize = 200;
const THREADS: usize = 4;
const REQUESTS: usize = 20_000;

fn main() -> ExitCode {
    let seed = std::env::var("SEED").ok().and_then(|s| s.parse().ok());
    let seed = seed.unwrap_or_else(|| RandomState::new().hash_one(0));
    let mut random = Random(seed | 1);
    let (mut worst, mut worst_set, mut took) = (0f64, Vec::new(), Duration::ZERO);
    for _ in 0..SETS {
        let weights = random.weights();
        let begun = Instant::now();
        let Some(requests) = run(&weights) else { continue };
        took += begun.elapsed();
        let deviation = largest_deviation(&weights, &requests);
        if deviation > worst {
            (worst, worst_set) = (deviation, weights);
        }
    }
    let each = took.as_nanos() / (SETS * REQUESTS) as u128;
    let mut out = std::io::stdout();
    writeln!(
        out,
        "split: {SETS} weight sets, {THREADS} threads, {REQUESTS} requests each, seed {seed}\n\
         split: largest deviation in any window of {FRAME}: {worst:.3} requests (weights {worst_set:?})\n\
         split: {each} ns a request, all threads on one counter"
    )
    .ok();
    if worst <= 1.0 + 1e-9 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Who got which request, all threads together, in the order of the requests' numbers.
fn run(weights: &[u32]) -> Option<Vec<u8>> {
    let (sequence, turn) = (Sequence::new(weights)?, Turn::default());
    let got: Vec<AtomicU8> = (0..REQUESTS).map(|_| AtomicU8::new(u8::MAX)).collect();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(slot) =
                    usize::try_from(turn.take()).ok().and_then(|n| got.get(n).map(|s| (n, s)))
                {
                    slot.1.store(sequence.at(slot.0 as u64) as u8, Ordering::Relaxed);
                }
            });
        }
    });
    Some(got.into_iter().map(AtomicU8::into_inner).collect())
}

fn largest_deviation(weights: &[u32], requests: &[u8]) -> f64 {
    let total: f64 = weights.iter().copied().map(f64::from).sum();
    let window = FRAME as usize;
    let deviation = |(backend, weight): (usize, &u32)| {
        let owed = f64::from(*weight) * FRAME as f64 / total;
        let is_its = |n: usize| f64::from(u8::from(usize::from(requests[n]) == backend));
        let mut got: f64 = (0..window).map(is_its).sum();
        let mut worst = (got - owed).abs();
        for end in window..requests.len() {
            got += is_its(end) - is_its(end - window);
            worst = worst.max((got - owed).abs());
        }
        worst
    };
    weights.iter().enumerate().map(deviation).fold(0.0, f64::max)
}

/// xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        u32::try_from((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) % bound).unwrap_or(0)
    }

    /// Two to eight weights, half of the sets in percent, half of any size.
    fn weights(&mut self) -> Vec<u32> {
        let (count, most) = (2 + self.below(7), if self.below(2) == 0 { 101 } else { 1_000_001 });
        (0..count).map(|_| self.below(most)).collect()
    }
}
