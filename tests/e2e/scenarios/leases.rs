//! Two controllers, and who of them leads.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use penstock_tests::cluster::realm::{Controller, Realm};
use penstock_tests::cluster::release::{ROLLOUT, Release, steps, steps_that_wait};
use penstock_tests::cluster::runner::Kind;
use penstock_tests::cluster::sound::Sound;
use penstock_tests::cluster::splits::Splits;
use penstock_tests::cluster::{Caller, Figures, Scenario, Shop};
use penstock_tests::traffic::{Record, now};
use penstock_tests::{PATIENCE, wait_until};
use rustix::process::Signal;
use tokio::time::sleep;

use super::killed::seed;

/// Who stands by leads after the leader was killed.
const TAKEN_OVER: Duration = Duration::from_secs(6);
/// And after the leader was asked to end.
const HANDED_OVER: Duration = Duration::from_secs(1);
/// How long a leader is stopped.
const ASLEEP: Duration = Duration::from_secs(15);

pub(super) fn all() -> Vec<Scenario> {
    let scenario = |name, run| Scenario { name, kind: Kind::Apart, run };
    vec![
        scenario("two controllers, the lease stolen in mid-release", |shop| Box::pin(stolen(shop))),
        scenario("two controllers, the leader stopped for 15 s in mid-release and woken", |shop| {
            Box::pin(paused(shop))
        }),
        scenario("two controllers, the leader ended and killed", |shop| Box::pin(handed_over(shop))),
    ]
}

/// Two controllers, a version that serves, and a client.
struct Two {
    realm: Realm,
    splits: Splits,
    caller: Caller,
    leader: Controller,
    other: Controller,
}

impl Two {
    async fn open(shop: &Shop, first: &Release) -> Result<Two> {
        let realm = Realm::open(shop, &[]).await?;
        let splits = Splits::follow(shop.place.client.clone(), &shop.name);
        let leader = realm.start("ada")?;
        wait_until(
            "ada leads",
            PATIENCE,
            async || if leader.leads().await? { Ok(()) } else { bail!("nobody") },
        )
        .await?;
        let other = realm.start("bob")?;
        let caller = shop.serves(first).await?;
        Ok(Two { realm, splits, caller, leader, other })
    }

    /// Who leads is known by one name only; waits until that is so, and makes that one `leader`.
    async fn settles(&mut self) -> Result<()> {
        let Two { leader, other, .. } = self;
        let second = wait_until("one of the two leads", PATIENCE, async || {
            match (leader.leads().await?, other.leads().await?) {
                (true, false) => Ok(false),
                (false, true) => Ok(true),
                (one, two) => bail!("{}: {one}, {}: {two}", leader.name, other.name),
            }
        })
        .await?;
        if second {
            std::mem::swap(&mut self.leader, &mut self.other);
        }
        Ok(())
    }
}

/// Checks all that has happened.
async fn checked(shop: &Shop, caller: Caller, splits: &Splits, orders: usize) -> Result<(Sound, Record)> {
    let record = shop.ends(caller).await?;
    let mut sound = Sound::default();
    sound.add(ROLLOUT, (&shop.journal.states(), splits, &record), orders)?;
    Ok((sound, record))
}

fn stepping(version: &str) -> Release {
    Release::new(version).with_steps(steps(&[10, 20, 40, 60], "1s"))
}

fn waiting(version: &str) -> Release {
    Release::new(version).with_steps(steps_that_wait(&[40]))
}

async fn stolen(shop: &Shop) -> Result<Figures> {
    let seed = seed()?;
    let mut random = fastrand::Rng::with_seed(seed);
    let mut two = Two::open(shop, &stepping("v1")).await?;
    let (mut thefts, mut longest) = (0_u32, Duration::ZERO);
    for version in ["v2", "v3"] {
        shop.apply(&stepping(version)).await?;
        for _ in 0..3 {
            sleep(Duration::from_millis(random.u64(100..1500))).await;
            let thief = match random.u8(..3) {
                0 => two.other.name.clone(),
                1 => "somebody-who-is-not-there".to_owned(),
                _ => String::new(),
            };
            let begun = Instant::now();
            two.realm.steal(&thief).await?;
            wait_until("the lease is held again", PATIENCE, async || {
                let holder = two.realm.holder().await?;
                let held = [&two.leader, &two.other].into_iter().find(|c| c.name == holder);
                match held {
                    Some(controller) if controller.leads().await? => Ok(()),
                    _ => bail!("by `{holder}`"),
                }
            })
            .await?;
            longest = longest.max(begun.elapsed());
            thefts += 1;
            two.settles().await?;
        }
        shop.is_stable().await?;
    }
    let (sound, _) = checked(shop, two.caller, &two.splits, 0).await?;
    two.realm.close().await?;
    let mut figures = Figures::new();
    figures.say(format!("2 releases, {thefts} thefts; {}", sound.words()));
    figures.goal("without a leader at most", longest, TAKEN_OVER)?;
    figures.say(format!("SEED={seed}"));
    Ok(figures)
}

async fn paused(shop: &Shop) -> Result<Figures> {
    let mut two = Two::open(shop, &waiting("v1")).await?;
    shop.apply(&waiting("v2")).await?;
    shop.is_at(40).await?;
    let begun = Instant::now();
    two.leader.signal(Signal::STOP)?;
    let ordered = shop.order("abort", "its controller sleeps").await?;
    shop.is_aborted().await?;
    shop.only(&two.caller, "v1").await?;
    // What the sleeper knows is old in two ways: another release has come to where its own one was.
    shop.apply(&stepping("v3")).await?;
    sleep(ASLEEP.saturating_sub(begun.elapsed())).await;
    let awake = now();
    two.leader.signal(Signal::CONT)?;
    two.settles().await?;
    shop.is_stable().await?;
    shop.only(&two.caller, "v3").await?;

    // Again and again at any moment, for as long as it takes to lose the lease.
    let seed = seed()?;
    let mut random = fastrand::Rng::with_seed(seed);
    shop.apply(&Release::new("v4").with_steps(steps(&[10, 20, 40, 60, 80], "2s"))).await?;
    for _ in 0..2 {
        sleep(Duration::from_millis(random.u64(100..1500))).await;
        two.leader.signal(Signal::STOP)?;
        wait_until("the other one leads", PATIENCE, async || {
            if two.other.leads().await? { Ok(()) } else { bail!("it does not") }
        })
        .await?;
        sleep(Duration::from_millis(random.u64(..1000))).await;
        two.leader.signal(Signal::CONT)?;
        two.settles().await?;
    }
    shop.is_stable().await?;
    shop.only(&two.caller, "v4").await?;
    anyhow::ensure!(
        shop.journal.states().iter().any(|seen| seen.at >= awake),
        "nothing has happened since it woke up"
    );
    let (sound, record) = checked(shop, two.caller, &two.splits, 1).await?;
    two.realm.close().await?;
    let mut figures = Figures::new();
    let taken = record.quiet_after(ordered.begun, "v2");
    figures.goal("abort ordered while it slept to the last request of the canary", taken, TAKEN_OVER)?;
    figures.say(format!("stopped 3 times; {}; SEED={seed}", sound.words()));
    Ok(figures)
}

async fn handed_over(shop: &Shop) -> Result<Figures> {
    let two = Two::open(shop, &stepping("v1")).await?;
    let mut figures = Figures::new();

    shop.apply(&stepping("v2")).await?;
    shop.is_at(10).await?;
    let Two { realm, splits, caller, leader: first, other: second } = two;
    let ended = Instant::now();
    first.signal(Signal::TERM)?;
    second.turns().await?;
    figures.goal("SIGTERM to the other's turn", ended.elapsed(), HANDED_OVER)?;
    first.ended().await?;
    shop.is_stable().await?;

    let third = realm.start("cyd")?;
    shop.apply(&stepping("v3")).await?;
    shop.is_at(10).await?;
    third.is_ready().await?;
    let killed = Instant::now();
    second.kill()?;
    third.turns().await?;
    figures.goal("SIGKILL without a restart to the other's turn", killed.elapsed(), TAKEN_OVER)?;
    shop.is_stable().await?;

    let (sound, _) = checked(shop, caller, &splits, 0).await?;
    realm.close().await?;
    figures.say(sound.words());
    Ok(figures)
}
