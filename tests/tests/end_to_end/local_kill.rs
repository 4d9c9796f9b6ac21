//! SIGKILL at any moment: no request notices, nothing is left over, nothing is done twice.

use std::time::Duration;

use penstock_crds::{Phase, RolloutStatus};
use penstock_tests::folder::{Folder, Story};
use penstock_tests::manifest::PAUSE;
use penstock_tests::traffic::{Exchange, now};
use penstock_tests::world::{decisions, stands_at};
use penstock_tests::{Manifest, PATIENCE, World, wait_until};
use tokio::time::sleep;

async fn world() -> World {
    World::serving(Manifest::new("checkout", "v1").unwrap()).await.unwrap()
}

/// Kills penstock, lets the client see for a while that nothing has happened, and starts it again.
async fn kill_and_start(world: &mut World) {
    world.folder.kill().unwrap();
    let before = world.traffic.record().0.len();
    let more = async || match world.traffic.record().0.len() {
        after if after > before + 100 => Ok(()),
        after => Err(format!("{} requests have ended", after - before)),
    };
    wait_until("requests go on without penstock", PATIENCE, more).await.unwrap();
    world.folder.start(&[]).unwrap();
}

/// The release ends with `version` in all traffic, no pod left over, and no request lost.
async fn ships(mut world: World, version: &str) -> RolloutStatus {
    // What rests before that is the version before.
    world.is_answered_by(version).await.unwrap();
    let status = world.rests().await.unwrap();
    assert_eq!(status.phase, Phase::Stable, "{}", Story(&status));
    no_more_than_once(&status);
    let (folder, record) = world.unharmed().await.unwrap();
    println!("{}", record.summary());
    assert_eq!(folder.pods().len(), 2, "{:?}", folder.processes());
    status
}

/// No move of a release is told twice, and the weights rise.
fn no_more_than_once(status: &RolloutStatus) {
    let started = status.decisions.iter().rposition(|d| d.what == "Started").unwrap_or(0);
    let weights: Vec<_> = status.decisions[started..]
        .iter()
        .filter(|d| d.what == "Advanced")
        .filter_map(|d| d.weight)
        .collect();
    assert!(weights.windows(2).all(|pair| pair[0] < pair[1]), "{weights:?}: {}", Story(status));
    assert!(status.decisions[started..].iter().filter(|d| d.what == "Completed").count() <= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_pods_come_up() {
    let mut world = world().await;
    world.folder.apply(&world.first.with_version("v2").with_env("READY_AFTER", 1000)).unwrap();
    let comes_up = |s: &RolloutStatus| s.revisions.len() == 2 && s.revisions[1].pods.len() == 1;
    world.until("a pod comes up", comes_up).await.unwrap();
    kill_and_start(&mut world).await;
    ships(world, "v2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_a_split_is_not_acknowledged() {
    let mut world = world().await;
    for version in 2.. {
        assert!(version < 20, "the moment was never hit");
        let next =
            world.first.with_version(&format!("v{version}")).with_steps(&["setWeight: 20", "pause: {}"]);
        world.folder.apply(&next).unwrap();
        // Saving comes before acting, and the acknowledgement after it: some milliseconds.
        let canary = |s: &RolloutStatus| s.split.as_ref().is_some_and(|split| split.weight == 20);
        let gone = |s: &RolloutStatus| !canary(s);
        world.folder.kill_when("checkout", canary).await.unwrap();
        let hit = !stands_at(&world.folder.status("checkout").unwrap(), 20);
        world.folder.start(&[]).unwrap();
        world.waits_for_a_person(20).await.unwrap();
        if hit {
            println!("hit with v{version}");
            assert_eq!(world.penstock(&["promote"]).await.unwrap().code, Some(0));
            ships(world, &next.version).await;
            return;
        }
        world.folder.apply(&world.first.clone()).unwrap();
        world.until("the canary is gone", gone).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_a_pause() {
    let mut world = world().await;
    let first = world.first.with_version("v2").with_steps(&["setWeight: 20", "pause: {duration: 2s}"]);
    world.folder.apply(&first).unwrap();
    world.reaches(20).await.unwrap();
    kill_and_start(&mut world).await;
    ships(world, "v2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_a_person_is_waited_for() {
    let mut world = world().await;
    world.folder.apply(&world.first.with_version("v2").with_steps(&["setWeight: 20", "pause: {}"])).unwrap();
    world.waits_for_a_person(20).await.unwrap();
    kill_and_start(&mut world).await;
    world.waits_for_a_person(20).await.unwrap();
    assert_eq!(world.penstock(&["promote"]).await.unwrap().code, Some(0));
    let status = ships(world, "v2").await;
    assert_eq!(decisions(&status, "Promoted").len(), 1, "{}", Story(&status));
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_100_percent() {
    let mut world = world().await;
    let steps = ["setWeight: 20", PAUSE, "setWeight: 100", "pause: {duration: 2s}"];
    world.folder.apply(&world.first.with_version("v2").with_steps(&steps)).unwrap();
    world.reaches(100).await.unwrap();
    kill_and_start(&mut world).await;
    ships(world, "v2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_the_old_version_drains() {
    let mut world = world().await;
    world.folder.apply(&world.first.with_version("v2")).unwrap();
    world.until("v2 is stable", |s| !decisions(s, "Completed").is_empty()).await.unwrap();
    kill_and_start(&mut world).await;
    ships(world, "v2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_just_after_an_abort() {
    let mut world = world().await;
    world.folder.apply(&world.first.with_version("v2").with_steps(&["setWeight: 20", "pause: {}"])).unwrap();
    world.waits_for_a_person(20).await.unwrap();
    let said = world.penstock(&["abort", "-r", "enough"]).await.unwrap();
    world.folder.kill().unwrap();
    assert_eq!(said.code, Some(0), "{said:?}");
    world.folder.start(&[]).unwrap();
    let status = world.rests().await.unwrap();
    assert_eq!(
        (status.phase, decisions(&status, "Aborted").len()),
        (Phase::Aborted, 1),
        "{}",
        Story(&status)
    );
    world.is_answered_by("v1").await.unwrap();
    let (folder, _) = world.unharmed().await.unwrap();
    assert_eq!(folder.pods().len(), 2, "{:?}", folder.processes());
}

/// The order is written and not followed when penstock dies.
#[tokio::test(flavor = "multi_thread")]
async fn killed_with_an_order_on_its_way() {
    let mut world = world().await;
    world.folder.apply(&world.first.with_version("v2").with_steps(&["setWeight: 20", "pause: {}"])).unwrap();
    world.waits_for_a_person(20).await.unwrap();
    assert_eq!(world.penstock(&["promote", "--no-wait"]).await.unwrap().code, Some(0));
    kill_and_start(&mut world).await;
    let status = ships(world, "v2").await;
    assert_eq!(decisions(&status, "Promoted").len(), 1, "{}", Story(&status));
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_fifty_times_at_random_moments() {
    let seed = std::env::var("SEED").map_or_else(|_| now(), |text| text.parse().expect("SEED is a number"));
    println!("SEED={seed}");
    let mut moments = Moments(seed | 1);
    let mut world = world().await;
    let (mut generation, mut version) = (0, 1);
    for _ in 0..50 {
        if is_stable(&world.folder) {
            version += 1;
            world.folder.apply(&world.first.with_version(&format!("v{version}"))).unwrap();
        }
        // A start takes about 100 ms; a release about two seconds.
        sleep(Duration::from_millis(20 + moments.next() % 480)).await;
        world.folder.kill().unwrap();
        let seen =
            world.folder.status("checkout").map(|s| s.split.map_or(0, |split| split.generation)).unwrap();
        assert!(seen >= generation, "the generation has fallen from {generation} to {seen}, SEED={seed}");
        generation = seen;
        sleep(Duration::from_millis(moments.next() % 30)).await;
        world.folder.start(&[]).unwrap();
    }
    println!("{version} versions, generation {generation}");
    assert!(version > 3, "of a release a few seconds long hardly any has ended, SEED={seed}");
    let last = format!("v{version}");
    world.until("the last version ships", |s| s.canary_revision.is_none()).await.unwrap();
    ships(world, &last).await;
}

fn is_stable(folder: &Folder) -> bool {
    folder.status("checkout").is_ok_and(|s| s.phase == Phase::Stable && stands_at(&s, 0))
}

/// xorshift: equal seeds give equal moments.
struct Moments(u64);

impl Moments {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_proxy_is_started_again_and_the_release_goes_on() {
    let mut world = world().await;
    let steps = ["setWeight: 20", "pause: {duration: 3s}"];
    world.folder.apply(&world.first.with_version("v2").with_steps(&steps)).unwrap();
    world.reaches(20).await.unwrap();
    let before = world.folder.proxy().unwrap();
    world.folder.kill_proxy().unwrap();
    wait_until("another proxy runs", PATIENCE, async || match world.folder.proxy() {
        Ok(proxy) if proxy.pid != before.pid => Ok(()),
        found => Err(format!("{found:?}")),
    })
    .await
    .unwrap();
    world.is_answered_by("v2").await.unwrap();
    let status = world.rests().await.unwrap();
    assert_eq!(status.phase, Phase::Stable, "{}", Story(&status));
    let record = world.traffic.stop().await.unwrap();
    println!("the proxy was killed: {}", record.summary());
    assert!(record.0.iter().filter(|e| e.failed()).all(|e| e.answer.is_err()), "{}", record.failures());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_pod_is_started_again_and_its_version_goes_on() {
    let mut world = world().await;
    let stable = world.folder.status("checkout").unwrap().stable_revision.unwrap();
    let killed = now();
    world.folder.kill_pod(&stable).unwrap();
    let restarted = |s: &RolloutStatus| s.revisions[0].restarts == 1 && s.revisions[0].ready == 2;
    let status = world.until("the pod is ready again", restarted).await.unwrap();
    assert_eq!(status.phase, Phase::Stable);
    world.is_answered_by("v1").await.unwrap();
    let record = world.traffic.stop().await.unwrap();
    println!("a pod was killed: {}", record.summary());
    let unexplained = |e: &&Exchange| e.failed() && !(e.sent <= killed + 20 && e.ended >= killed);
    assert_eq!(record.0.iter().filter(unexplained).count(), 0, "killed {killed}: {}", record.failures());
    assert_eq!(world.folder.pods().len(), 2);
}
