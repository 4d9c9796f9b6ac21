//! The end of `penstock local`, and the next beginning.

use std::time::Duration;

use penstock_crds::{Phase, RolloutStatus};
use penstock_tests::folder::{Folder, Story, address};
use penstock_tests::processes::{Kind, Process};
use penstock_tests::traffic::{Exchange, now};
use penstock_tests::world::decisions;
use penstock_tests::{Manifest, PATIENCE, Traffic, World, wait_until};
use rustix::process::Signal;

/// A grace of 5 s, a drain of nothing, and what a busy machine adds.
const BOUND: Duration = Duration::from_secs(15);

fn by_hand() -> Manifest {
    Manifest::new("checkout", "v1").unwrap().with_steps(&["setWeight: 20", "pause: {}"])
}

/// Pods and proxy, ordered by their numbers.
fn kept(folder: &Folder) -> Vec<Process> {
    let mut processes = folder.processes();
    processes.retain(|process| process.kind != Kind::Penstock);
    processes.sort_by_key(|process| process.pid.as_raw_nonzero());
    processes
}

fn names(status: &RolloutStatus) -> Vec<String> {
    status.revisions.iter().flat_map(|r| &r.pods).map(|pod| pod.name.clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_everything_and_the_next_run_goes_on_where_it_was() {
    let mut world = World::serving(by_hand()).await.unwrap();
    world.folder.apply(&world.first.with_version("v2")).unwrap();
    let before = world.waits_for_a_person(20).await.unwrap();
    let World { mut folder, first, traffic } = world;
    let record = traffic.stop().await.unwrap();
    assert_eq!(record.failed(), 0, "{}", record.failures());

    for signal in [Signal::INT, Signal::TERM] {
        let (status, time) = folder.end(signal).unwrap();
        assert!(status.success() && time < BOUND, "{status} after {time:?}");
        assert_eq!(folder.processes(), [], "left behind");
        let gone = names(&folder.status("checkout").unwrap());
        folder.start(&[]).unwrap();
        let pods_ready =
            |s: &RolloutStatus| s.revisions.iter().map(|r| r.ready).collect::<Vec<_>>() == [2, 1];
        // What is saved is of the run before for a while.
        let others = |s: &RolloutStatus| names(s).iter().all(|name| !gone.contains(name));
        let waits =
            |s: &RolloutStatus| s.phase == Phase::Paused && s.split.as_ref().is_some_and(|s| s.acknowledged);
        let after = folder
            .until("checkout", "it stands where it was", |s| waits(s) && pods_ready(s) && others(s))
            .await
            .unwrap();
        assert_eq!(after.split.as_ref().map(|s| s.weight), Some(20), "{}", Story(&after));
        assert_eq!((&after.canary_revision, after.step), (&before.canary_revision, before.step));
    }
    let traffic = Traffic::steady(address(&first), 300);
    assert_eq!(folder.penstock(&["promote"]).await.unwrap().code, Some(0));
    let status = folder.rests(&first).await.unwrap();
    assert_eq!(decisions(&status, "Completed").len(), 1, "{}", Story(&status));
    World { folder, first, traffic }.unharmed().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_pods_that_do_not_want_to() {
    let mut folder = Folder::serving(&by_hand().with_env("DEAF", 1)).await.unwrap();
    let (status, time) = folder.end(Signal::INT).unwrap();
    assert!(status.success() && time < BOUND, "{status} after {time:?}");
    assert_eq!(folder.processes(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_lets_requests_in_flight_end() {
    let slow = by_hand().with_env("SLOW_SHARE", 100).with_env("SLOW_MS", 1500);
    let mut folder = Folder::serving(&slow).await.unwrap();
    let traffic = Traffic::steady(address(&slow), 20);
    tokio::time::sleep(Duration::from_millis(1000)).await;
    let (status, _) = folder.end(Signal::INT).unwrap();
    assert!(status.success(), "{status}");
    let record = traffic.stop().await.unwrap();
    assert!(record.of("v1") >= 10, "{}", record.summary());
    // Who comes later finds nobody; who was let in gets an answer.
    let late = |e: &&Exchange| e.answer.as_ref().is_err_and(|why| why.contains("refused"));
    assert_eq!(record.0.iter().filter(late).count(), record.failed(), "{}", record.failures());
}

#[tokio::test(flavor = "multi_thread")]
async fn with_keep_pods_and_proxy_go_on_and_the_next_run_adopts_them() {
    let mut folder = Folder::new().unwrap();
    let first = by_hand();
    folder.apply(&first).unwrap();
    folder.start(&["--keep"]).unwrap();
    folder.rests(&first).await.unwrap();
    let before = kept(&folder);
    let world = World { traffic: Traffic::steady(address(&first), 300), folder, first };
    world.is_answered_by("v1").await.unwrap();
    let World { mut folder, first, traffic } = world;

    let (status, _) = folder.end(Signal::INT).unwrap();
    assert!(status.success(), "{status}");
    assert_eq!((folder.processes(), before.len()), (before.clone(), 3));
    folder.says(&["pods and proxy go on", "adopts them again"]).await.unwrap();
    let mut world = World { folder, first, traffic };
    world.is_answered_by("v1").await.unwrap();

    world.folder.apply(&world.first.with_version("v2")).unwrap();
    world.folder.start(&[]).unwrap();
    world.waits_for_a_person(20).await.unwrap();
    let after = kept(&world.folder);
    assert!(before.iter().all(|process| after.contains(process)), "{before:?} became {after:?}");
    world.is_answered_by("v2").await.unwrap();
    world.unharmed().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_and_a_manifest_that_went_while_nobody_looked_are_seen_at_the_start() {
    let mut world = World::serving(by_hand()).await.unwrap();
    let other = Manifest::new("cart", "c1").unwrap();
    world.folder.apply(&other).unwrap();
    world.folder.rests(&other).await.unwrap();
    world.folder.kill().unwrap();
    world.folder.remove("cart.yaml").unwrap();
    let stable = world.folder.status("checkout").unwrap().stable_revision.unwrap();
    let killed = now();
    world.folder.kill_pod(&stable).unwrap();
    world.is_answered_by("v1").await.unwrap();
    world.folder.start(&[]).unwrap();
    let healed = |s: &RolloutStatus| s.revisions[0].ready == 2 && s.revisions[0].restarts == 1;
    world.until("the pod was started again", healed).await.unwrap();
    wait_until("nothing of cart is left", PATIENCE, async || {
        let pods = world.folder.pods();
        let saved = world.folder.own("state/default.cart.json").exists();
        if pods.len() == 2 && !saved { Ok(()) } else { Err(format!("{pods:?}, saved: {saved}")) }
    })
    .await
    .unwrap();
    // What was in flight in the pod that was killed can't be answered; everything else is.
    let record = world.traffic.stop().await.unwrap();
    let unexplained = |e: &&Exchange| e.failed() && !(e.sent <= killed + 20 && e.ended >= killed);
    assert_eq!(record.0.iter().filter(unexplained).count(), 0, "killed {killed}: {}", record.failures());
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_right_after_the_start_leaves_nothing_behind() {
    let mut folder = Folder::new().unwrap();
    folder.apply(&by_hand()).unwrap();
    for moment in [0, 5, 10, 20, 40, 80, 160] {
        folder.start(&[]).unwrap();
        folder.says(&["running"]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(moment)).await;
        let (status, time) = folder.end(Signal::INT).unwrap();
        assert!(status.success() && time < BOUND, "{status} after {time:?}");
        assert_eq!(folder.processes(), [], "{moment} ms after the start");
    }
}
