//! How fast and how sure the judge is: `make bench`.
//!
//! Prints false aborts over 100,000 healthy requests, and requests until the abort of a bad canary: fresh, and after
//! an hour of health. The limit is 1 %, the level 0.001. Ends with an error where the promised bound does not hold.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use penstock_core::sample::Counts;
use penstock_core::verdict::Bets;

const LIMIT: f64 = 0.01;
const ALPHA: f64 = 0.001;
const RUNS: u64 = 1_000;
const SEED: u64 = 20_000;

/// One request after the other until the limit is refuted; `None` after `most` requests.
fn requests_until_refuted(rng: &mut fastrand::Rng, share: f64, mut bets: Bets, most: u64) -> Option<u64> {
    (1..=most).find(|_| {
        let bad = u64::from(rng.f64() < share);
        bets.fold(LIMIT, Counts { total: 1, bad });
        bets.refute(ALPHA)
    })
}

/// An hour at 10 requests a second, measured each second, without a failure.
fn an_hour_of_health() -> Bets {
    let mut bets = Bets::default();
    (0..3_600).for_each(|_| bets.fold(LIMIT, Counts { total: 10, bad: 0 }));
    bets
}

fn false_aborts(rng: &mut fastrand::Rng, share: f64) -> u64 {
    let aborted = |_: &u64| requests_until_refuted(rng, share, Bets::default(), 100_000).is_some();
    (0..RUNS).filter(aborted).count() as u64
}

fn quantiles(rng: &mut fastrand::Rng, share: f64, before: &Bets) -> (u64, u64) {
    let mut all: Vec<u64> = (0..RUNS)
        .map(|_| requests_until_refuted(rng, share, before.clone(), 1_000_000).unwrap_or(u64::MAX))
        .collect();
    all.sort_unstable();
    (all[all.len() / 2], all[all.len() * 95 / 100])
}

fn main() {
    let mut rng = fastrand::Rng::with_seed(SEED);
    println!("judge: limit 1 %, level {ALPHA}, {RUNS} runs each, seed {SEED}");
    println!("\nfalse aborts in 100,000 requests, looked at after each:");
    let mut held = true;
    for share in [0.002, 0.005, 0.01] {
        let aborts = false_aborts(&mut rng, share);
        println!("  {:>4} % bad: {aborts} of {RUNS}", share * 100.0);
        // Ville's bound is on the mean; four standard deviations above it is no accident.
        let most = RUNS as f64 * ALPHA + 4.0 * (RUNS as f64 * ALPHA).sqrt();
        held &= (aborts as f64) <= most;
    }
    println!("\nrequests until the abort (median, 95th percentile):");
    println!("  {:>6}  {:>15}  {:>24}", "bad", "fresh", "after an hour of health");
    let healthy = an_hour_of_health();
    for share in [1.0, 0.2, 0.05, 0.03] {
        let (fresh, fresh95) = quantiles(&mut rng, share, &Bets::default());
        let (late, late95) = quantiles(&mut rng, share, &healthy);
        println!("  {:>4} %  {fresh:>6} {fresh95:>8}  {late:>15} {late95:>8}", share * 100.0);
    }
    if !held {
        println!("the bound on false aborts does not hold");
        std::process::exit(1);
    }
}
