//! The machine in a hostile world: simulated time, several proxies, pods that come, go and crash-loop, metrics
//! late, empty, doubled, half and reset, gates that are silent, late or say no, freezes, writes lost, late, doubled and stale, a crash between any two effects, two
//! leaders at once, orders of people and new templates at any moment.
//!
//! One seed is one world. After each tick the promises in `checks.rs` are checked. A seed that fails is kept in
//! `SEEDS_THAT_FAILED_ONCE`.

mod checks;
mod faults;
mod leader;
mod people;
mod proxy;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::advance::Rules;
use faults::Faults;
use world::World;

/// Seeds that found a violation in an earlier version of the machine.
const SEEDS_THAT_FAILED_ONCE: [u64; 2] = [4738, 9382];
/// Ticks of a second with faults, then at most so many without.
const HOSTILE: u64 = 90;
const CALM: u64 = 240;

/// What of the promise is switched off in this run, to see that the checks have teeth.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Promise {
    rules: Rules,
    /// Whether receivers refuse older generations.
    generations: bool,
}

impl Promise {
    const WHOLE: Promise = Promise { rules: Rules::ALL, generations: true };
}

/// Runs one world. Errors: the promise that was broken, when, and what led to it.
fn run(seed: u64, promise: Promise) -> Result<World, String> {
    let mut world = World::new(seed, promise);
    for _ in 0..HOSTILE {
        world.tick().map_err(|why| world.story(&why))?;
    }
    world.calm();
    for _ in 0..CALM {
        world.tick().map_err(|why| world.story(&why))?;
        if world.is_settled() {
            break;
        }
    }
    checks::ended(&world).map_err(|why| world.story(&why))?;
    Ok(world)
}

fn violations(seeds: std::ops::Range<u64>, promise: Promise) -> usize {
    seeds.filter(|seed| run(*seed, promise).is_err()).count()
}

fn run_all(seeds: std::ops::Range<u64>) {
    for seed in SEEDS_THAT_FAILED_ONCE.into_iter().chain(seeds) {
        if let Err(story) = run(seed, Promise::WHOLE) {
            panic!("seed {seed}: {story}");
        }
    }
}

#[test]
fn the_promise_holds_in_a_thousand_hostile_worlds() {
    run_all(0..1000);
}

#[test]
fn every_kind_of_fault_and_ending_occurs() {
    let mut seen = Faults::default();
    let mut endings = std::collections::BTreeMap::<String, u32>::new();
    for seed in 0..1000 {
        let Ok(world) = run(seed, Promise::WHOLE) else { panic!("seed {seed} fails") };
        seen.add(&world.faults);
        for what in world.told.iter().map(|d| format!("{:?}", d.what)) {
            *endings.entry(what).or_default() += 1;
        }
    }
    println!("{seen:?}\n{endings:?}");
    seen.each(|name, times| assert!(times >= 50, "{name} occurred {times} times only"));
    for what in [
        "Deployed",
        "Started",
        "Advanced",
        "Passed",
        "Held",
        "Gated",
        "Frozen",
        "Paused",
        "Resumed",
        "Aborted",
        "Superseded",
        "Reverted",
        "Completed",
        "Retried",
        "Undone",
        "Promoted",
        "Refused",
        "Repaired",
        "Drained",
    ] {
        assert!(endings.get(what).is_some_and(|n| *n >= 20), "{what}: {:?}", endings.get(what));
    }
}

#[test]
fn without_ready_pods_first_the_checks_find_violations() {
    let rules = Rules { ready_first: false, ..Rules::ALL };
    assert!(violations(0..300, Promise { rules, ..Promise::WHOLE }) > 0);
}

#[test]
fn without_a_confirmed_drain_the_checks_find_violations() {
    let rules = Rules { confirmed_drain: false, ..Rules::ALL };
    assert!(violations(0..300, Promise { rules, ..Promise::WHOLE }) > 0);
}

#[test]
fn without_generations_the_checks_find_violations() {
    assert!(violations(0..2000, Promise { generations: false, ..Promise::WHOLE }) > 0);
}

#[test]
fn when_the_unknown_counts_as_good_the_checks_find_violations() {
    let rules = Rules { known_good: false, ..Rules::ALL };
    assert!(violations(0..300, Promise { rules, ..Promise::WHOLE }) > 0);
}

/// `make sim SEEDS=n FIRST=m`: as many worlds as asked for, on all cores, with the rate; then what each of the
/// rules is worth.
#[test]
#[ignore = "long: make sim SEEDS=n"]
#[allow(clippy::disallowed_methods, reason = "the simulation's own speed is measured with a real clock")]
fn as_many_worlds_as_asked_for() {
    let number =
        |name: &str, default| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default);
    let (seeds, first) = (number("SEEDS", 10_000u64), number("FIRST", 0u64));
    let begun = Instant::now();
    let next = AtomicU64::new(first);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let work = || loop {
            let from = next.fetch_add(1000, Ordering::Relaxed);
            if from >= first + seeds {
                return;
            }
            let failed = (from..(from + 1000).min(first + seeds))
                .find_map(|s| Some((s, run(s, Promise::WHOLE).err()?)));
            if let Some((seed, story)) = failed {
                next.store(first + seeds, Ordering::Relaxed); // the other threads need not go on
                panic!("seed {seed}: {story}");
            }
            if from.is_multiple_of(50_000) && from > first {
                println!("{} worlds, {:?}", from - first, begun.elapsed());
            }
        };
        (0..threads).for_each(|_| _ = scope.spawn(work));
    });
    let rate = seeds as f64 / begun.elapsed().max(Duration::from_millis(1)).as_secs_f64();
    println!("{seeds} worlds from seed {first}: 0 violations, {rate:.0} worlds/s on {threads} threads");
    let off = |name: &str, promise| {
        println!("without {name}: {} of 2000 worlds go wrong", violations(0..2000, promise))
    };
    off("ready pods first", Promise { rules: Rules { ready_first: false, ..Rules::ALL }, ..Promise::WHOLE });
    off(
        "a confirmed drain",
        Promise { rules: Rules { confirmed_drain: false, ..Rules::ALL }, ..Promise::WHOLE },
    );
    off("generations", Promise { generations: false, ..Promise::WHOLE });
    off(
        "good only when known",
        Promise { rules: Rules { known_good: false, ..Rules::ALL }, ..Promise::WHOLE },
    );
}
