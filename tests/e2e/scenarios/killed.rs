//! A controller that is killed again and again, at any moment.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures_util::future::{Either, select, try_join_all};
use kube::ResourceExt;
use penstock_crds::Phase;
use penstock_tests::cluster::realm::{Controller, Realm};
use penstock_tests::cluster::release::{Release, steps};
use penstock_tests::cluster::runner::Kind;
use penstock_tests::cluster::sound::{Sound, has_orders};
use penstock_tests::cluster::splits::Splits;
use penstock_tests::cluster::{Caller, Figures, Journal, Scenario, Seen, Shop};
use penstock_tests::{PATIENCE, wait_until};
use serde_json::{Value, json};
use tokio::time::sleep;

/// Rollouts beside each other, and releases of each.
const ROLLOUTS: u64 = 5;
const RELEASES: u64 = 6;
/// Requests a second to each of them.
const RATE: u32 = 50;
/// From a SIGKILL to the next turn.
const GOAL: Duration = Duration::from_secs(3);

pub(super) fn all() -> Vec<Scenario> {
    vec![Scenario {
        name: "controller killed at random moments of 30 releases",
        kind: Kind::Apart,
        run: |shop| Box::pin(killed(shop)),
    }]
}

async fn killed(shop: &Shop) -> Result<Figures> {
    let seed = seed()?;
    let mut random = fastrand::Rng::with_seed(seed);
    let realm = Realm::open(shop, &[]).await?;
    let splits = Splits::follow(shop.place.client.clone(), &shop.name);
    let controller = realm.start("one")?;
    let stores = try_join_all((0..ROLLOUTS).map(|number| Store::open(shop, number))).await?;
    let begun = Instant::now();
    let kills = Kills::default();
    let released = {
        let releases =
            stores.iter().map(|store| store.release_all(shop, fastrand::Rng::with_seed(random.u64(..))));
        let kills = kills.go_on(&realm, controller, fastrand::Rng::with_seed(seed));
        match select(Box::pin(try_join_all(releases)), Box::pin(kills)).await {
            Either::Left((released, _)) => released,
            Either::Right((ended, _)) => {
                Err(ended.err().unwrap_or_else(|| anyhow::anyhow!("nobody is killed any more")))
            }
        }
    };
    let given = released.with_context(|| format!("SEED={seed}"))?;
    let took = begun.elapsed();

    let mut sound = Sound::default();
    for (store, given) in stores.into_iter().zip(&given) {
        let (name, told) = (store.name, store.journal.states());
        let record = store.caller.stop().await?;
        let checked = sound.add(&name, (&told, &splits, &record), *given);
        checked.with_context(|| format!("SEED={seed}, {name}"))?;
    }
    realm.close().await?;
    ensure!(sound.shares >= 20, "only {} times a share could be compared, SEED={seed}", sound.shares);
    let mut figures = Figures::new();
    let mut times = kills.times.take();
    times.sort();
    ensure!(times.len() >= 5, "only {} kills were followed by a turn, SEED={seed}", times.len());
    figures.say(format!(
        "{} releases in {:.0} s, {} kills, {} orders",
        ROLLOUTS * RELEASES,
        took.as_secs_f64(),
        kills.count.get(),
        given.iter().sum::<usize>()
    ));
    figures.say(sound.words());
    figures
        .say(format!("SIGKILL to the next turn {:.2} s in the middle", times[times.len() / 2].as_secs_f64()));
    figures.goal("at most", times[times.len() - 1], GOAL)?;
    figures.say(format!("SEED={seed}"));
    Ok(figures)
}

/// What `SEED` says, or a new one.
pub(super) fn seed() -> Result<u64> {
    match std::env::var("SEED") {
        Ok(seed) => seed.parse().with_context(|| format!("SEED is `{seed}`: write a whole number")),
        Err(_) => Ok(fastrand::u64(..1_000_000)),
    }
}

/// How often it was killed, and how long the next turns took to come.
#[derive(Default)]
struct Kills {
    count: std::cell::Cell<usize>,
    times: std::cell::RefCell<Vec<Duration>>,
}

impl Kills {
    /// Kills the controller and starts it again, until it is dropped. Some of them die before their first turn.
    async fn go_on(&self, realm: &Realm, first: Controller, mut random: fastrand::Rng) -> Result<()> {
        let mut controller = first;
        loop {
            sleep(Duration::from_millis(random.u64(200..2500))).await;
            let died = Instant::now();
            controller.kill()?;
            self.count.set(self.count.get() + 1);
            controller = realm.start("one")?;
            if random.u8(..4) == 0 {
                sleep(Duration::from_millis(random.u64(..400))).await;
                continue;
            }
            controller.turns().await?;
            self.times.borrow_mut().push(died.elapsed());
        }
    }
}

/// A Rollout among several of a namespace, with a client of its own.
struct Store {
    name: String,
    journal: Journal,
    caller: Caller,
}

/// What a person does in mid-release.
#[derive(Clone, Copy)]
enum Person {
    Watches,
    Aborts,
    PromotesFull,
    PausesAndResumes,
}

impl Store {
    async fn open(shop: &Shop, number: u64) -> Result<Store> {
        let name = format!("checkout-{number}");
        let journal = Journal::follow(shop.place.client.clone(), &shop.name, &name);
        let target = format!("{name}.{}.svc.cluster.local:80", shop.name);
        let (client, images) = (shop.place.client.clone(), &shop.place.images);
        let caller =
            Caller::start((client, images), (&shop.name, &format!("client-{number}")), &target, RATE).await?;
        let store = Store { name, journal, caller };
        store.apply(shop, "v1").await?;
        store.reaches("it is deployed", |seen| seen.status().phase == Phase::Stable).await?;
        store.caller.counts().await?;
        Ok(store)
    }

    /// One release after the other. Returns how many orders were given.
    async fn release_all(&self, shop: &Shop, mut random: fastrand::Rng) -> Result<usize> {
        let mut orders = 0;
        for number in 0..RELEASES {
            let version = format!("v{}", number + 2);
            let generation = self.apply(shop, &version).await?;
            let person = match random.u8(..8) {
                0 | 1 => Person::Aborts,
                2 => Person::PromotesFull,
                3 => Person::PausesAndResumes,
                _ => Person::Watches,
            };
            orders += self.interfere(shop, person, number, &mut random).await?;
            let ended = |seen: &Seen| {
                let status = seen.status();
                status.observed_generation >= Some(generation)
                    && matches!(status.phase, Phase::Stable | Phase::Aborted)
                    && !has_orders(seen)
            };
            self.reaches(&format!("release {version} has ended"), ended).await?;
        }
        Ok(orders)
    }

    /// Gives orders. Returns how many.
    async fn interfere(
        &self,
        shop: &Shop,
        person: Person,
        number: u64,
        random: &mut fastrand::Rng,
    ) -> Result<usize> {
        let words: &[&str] = match person {
            Person::Watches => &[],
            Person::Aborts => &["abort"],
            Person::PromotesFull => &["promote-full"],
            Person::PausesAndResumes => &["pause", "resume"],
        };
        for word in words {
            sleep(Duration::from_millis(random.u64(300..3000))).await;
            let annotation = format!("penstock.dev/{word}=in release {number}");
            shop.kubectl(&["annotate", "--overwrite", "rollout", &self.name, &annotation]).await?;
            // Of two that are found together, the more careful one would hold.
            wait_until(&format!("`{word}` is taken"), PATIENCE, async || {
                let rollout = shop.rollouts().get_metadata(&self.name).await?;
                let there = rollout.annotations().contains_key(&format!("penstock.dev/{word}"));
                if there { bail!("it is still there") } else { Ok(()) }
            })
            .await?;
        }
        Ok(words.len())
    }

    /// Returns the generation of the spec.
    async fn apply(&self, shop: &Shop, version: &str) -> Result<i64> {
        let analysis = json!({"minRequests": 5});
        let release = Release::new(version).with_steps(steps(&[20, 50], "1s")).with_analysis(&analysis);
        let mut manifest = release.manifest(&shop.place.images);
        let one = if self.name.ends_with(['1', '3']) { 2 } else { 1 };
        for (path, value) in [
            ("/metadata/name", Value::from(self.name.as_str())),
            ("/spec/selector/matchLabels/app", self.name.as_str().into()),
            ("/spec/template/metadata/labels/app", self.name.as_str().into()),
            ("/spec/service/name", self.name.as_str().into()),
            ("/spec/replicas", one.into()),
        ] {
            *manifest.pointer_mut(path).with_context(|| path.to_owned())? = value;
        }
        shop.put(&manifest).await?;
        let path = ["get", "rollout", &self.name, "-o", "jsonpath={.metadata.generation}"];
        shop.kubectl(&path).await?.trim().parse().context("the Rollout's generation")
    }

    async fn reaches(&self, what: &str, wanted: impl Fn(&Seen) -> bool) -> Result<Seen> {
        self.journal.reaches(&format!("{}: {what}", self.name), PATIENCE, wanted).await
    }
}
