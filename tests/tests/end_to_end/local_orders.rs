//! What people want while a release is under way: other manifests, and orders.

use std::time::Duration;

use penstock_crds::{Phase, RolloutStatus};
use penstock_tests::folder::{Folder, Said, Story, address};
use penstock_tests::processes::Kind;
use penstock_tests::world::{decisions, stands_at};
use penstock_tests::{Manifest, PATIENCE, World, wait_until};

/// A person is waited for at 20 and at 60 %.
fn by_hand() -> Manifest {
    Manifest::new("checkout", "v1").unwrap().with_steps(&[
        "setWeight: 20",
        "pause: {}",
        "setWeight: 60",
        "pause: {}",
    ])
}

/// The traffic comes one by one, so that it is known who answered before whom.
async fn releasing_v2() -> World {
    let mut world = World::serving_one_by_one(by_hand()).await.unwrap();
    world.folder.apply(&world.first.with_version("v2")).unwrap();
    world.waits_for_a_person(20).await.unwrap();
    world.is_answered_by("v2").await.unwrap();
    world
}

async fn told(world: &World, arguments: &[&str], code: i32, part: &str) -> Said {
    let said = world.penstock(arguments).await.unwrap();
    assert_eq!(said.code, Some(code), "{arguments:?}: {said:?}");
    let all = format!("{}{}", said.out, said.err);
    assert!(all.contains(part), "{arguments:?} says no `{part}`: {said:?}");
    said
}

/// Every order has one answer, and none waits.
fn each_order_once(folder: &Folder, status: &RolloutStatus, orders: usize) {
    let mut answered: Vec<_> = status.decisions.iter().filter_map(|d| d.order.clone()).collect();
    answered.sort();
    let all = answered.len();
    answered.dedup();
    assert_eq!((answered.len(), all), (orders, orders), "{}", Story(status));
    let waiting = std::fs::read_dir(folder.own("orders/default.checkout")).unwrap().count();
    assert_eq!(waiting, 0, "orders wait still");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_third_version_takes_the_seconds_place_and_begins_at_zero() {
    let mut world = releasing_v2().await;
    world.folder.apply(&world.first.with_version("v3")).unwrap();
    world.until("v3 takes its place", |s| decisions(s, "Superseded").len() == 1).await.unwrap();
    world.waits_for_a_person(20).await.unwrap();
    world.is_answered_by("v3").await.unwrap();
    told(&world, &["promote", "checkout"], 0, "ended by order").await;
    world.waits_for_a_person(60).await.unwrap();
    told(&world, &["promote"], 0, "ended by order").await;
    let status = world.rests().await.unwrap();
    assert_eq!(status.phase, Phase::Stable);
    let (folder, record) = world.unharmed().await.unwrap();
    let position = |version: &str| record.0.iter().position(|e| e.version() == version);
    let last_of_v2 = record.0.iter().rposition(|e| e.version() == "v2");
    assert!(last_of_v2 < position("v3"), "v2 was still served when v3 was");
    assert_eq!(record.0.last().unwrap().version(), "v3");
    assert_eq!(folder.pods().len(), 2, "{:?}", folder.processes());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stable_version_wanted_again_ends_the_release() {
    let mut world = releasing_v2().await;
    world.folder.apply(&world.first.clone()).unwrap();
    let status = world.rests().await.unwrap();
    assert_eq!(
        (decisions(&status, "Reverted").len(), status.phase),
        (1, Phase::Stable),
        "{}",
        Story(&status)
    );
    world.is_answered_by("v1").await.unwrap();
    let (folder, record) = world.unharmed().await.unwrap();
    assert_eq!(record.0.last().unwrap().version(), "v1");
    assert_eq!(folder.pods().len(), 2, "{:?}", folder.processes());
}

#[tokio::test(flavor = "multi_thread")]
async fn more_pods_and_a_new_version_in_one_save_are_both_done() {
    let mut world = World::serving(by_hand()).await.unwrap();
    let more = Manifest { replicas: 4, ..world.first.with_version("v2") };
    world.folder.apply(&more).unwrap();
    world.waits_for_a_person(20).await.unwrap();
    let scales = |s: &RolloutStatus| s.revisions.iter().map(|r| (r.scale, r.ready)).collect::<Vec<_>>();
    let due = "stable has its pods, the canary what 20 % need";
    world.until(due, |s| scales(s) == [(4, 4), (1, 1)]).await.unwrap();
    told(&world, &["promote"], 0, "").await;
    world.waits_for_a_person(60).await.unwrap();
    // Fewer pods in mid-release take nobody's traffic away.
    world.folder.apply(&Manifest { replicas: 3, ..more }).unwrap();
    world.until("stable has 3 pods", |s| s.revisions[0].scale == 3 && stands_at(s, 60)).await.unwrap();
    told(&world, &["promote"], 0, "").await;
    let status = world.rests().await.unwrap();
    assert_eq!(status.revisions[0].ready, 3, "{}", Story(&status));
    let (folder, _) = world.unharmed().await.unwrap();
    assert_eq!(folder.pods().len(), 3, "{:?}", folder.processes());
}

#[tokio::test(flavor = "multi_thread")]
async fn other_steps_in_mid_release_neither_raise_nor_lower_the_weight() {
    let mut world = releasing_v2().await;
    let other = world.first.with_version("v2");
    let other = other.with_steps(&["setWeight: 10", "pause: {}", "setWeight: 40", "pause: {}"]);
    world.folder.apply(&other).unwrap();
    let generation = |s: &RolloutStatus| s.observed_generation;
    let before = generation(&world.folder.status("checkout").unwrap());
    world.until("the new steps are followed", |s| generation(s) > before).await.unwrap();
    let status = world.waits_for_a_person(20).await.unwrap();
    assert_eq!((status.step, status.steps), (Some(1), Some(4)), "{}", Story(&status));
    told(&world, &["promote"], 0, "").await;
    let status = world.waits_for_a_person(40).await.unwrap();
    let weights: Vec<_> = decisions(&status, "Advanced").iter().filter_map(|d| d.weight).collect();
    assert_eq!(weights, [20, 40], "{}", Story(&status));
    // Without the pause nothing is left to wait for.
    world.folder.apply(&other.with_steps(&["setWeight: 40"])).unwrap();
    assert_eq!(world.rests().await.unwrap().phase, Phase::Stable);
    world.is_answered_by("v2").await.unwrap();
    world.unharmed().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_removed_in_mid_release_leaves_nothing_behind() {
    let mut world = releasing_v2().await;
    world.folder.remove("checkout.yaml").unwrap();
    wait_until("its pods and files are gone", PATIENCE, async || {
        let mut left: Vec<_> = world.folder.pods();
        for place in
            ["state", "revisions/default.checkout", "orders/default.checkout", "proxy", "pods", "applied"]
        {
            let files = std::fs::read_dir(world.folder.own(place)).into_iter().flatten().flatten();
            let names = files.map(|file| format!("{place}/{}", file.file_name().to_string_lossy()));
            left.extend(names.filter(|name| !name.ends_with(".lock")));
        }
        if left.is_empty() { Ok(()) } else { Err(format!("left: {left:?}")) }
    })
    .await
    .unwrap();
    assert!(std::net::TcpStream::connect(address(&world.first)).is_err(), "its port is served still");
    told(&world, &["get", "checkout"], 3, "no Rollout `checkout`").await;
    let record = world.traffic.stop().await.unwrap();
    let refused_only = record.0.iter().filter(|e| e.failed()).all(|e| e.answer.is_err());
    assert!(refused_only, "until its port closed every request was answered: {}", record.failures());
    // Saved again, it is a first deploy.
    world.folder.apply(&world.first.with_version("v9")).unwrap();
    let status = world.folder.rests(&world.first).await.unwrap();
    assert_eq!(
        (decisions(&status, "Deployed").len(), status.phase),
        (1, Phase::Stable),
        "{}",
        Story(&status)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abort_by_hand_holds_until_retry_and_promote_full_ends_it() {
    let mut world = releasing_v2().await;
    let said =
        told(&world, &["abort", "checkout", "--reason", "p99 looks wrong"], 0, "p99 looks wrong").await;
    assert!(said.out.starts_with("checkout: aborted by order"), "{said:?}");
    let status = world.rests().await.unwrap();
    assert_eq!(status.phase, Phase::Aborted);
    assert_eq!(decisions(&status, "Aborted")[0].who, "ada");
    told(&world, &["abort", "checkout"], 1, "it was aborted before").await;
    told(&world, &["promote", "checkout"], 1, "use retry").await;
    // The same text saved again is not another try.
    world.folder.apply(&world.first.with_version("v2")).unwrap();
    told(&world, &["retry", "checkout", "--as", "bob"], 0, "tried again by order after: aborted by order")
        .await;
    let status = world.waits_for_a_person(20).await.unwrap();
    assert_eq!(decisions(&status, "Retried")[0].who, "bob");
    assert_eq!(decisions(&status, "Started").len(), 2, "{}", Story(&status));
    told(&world, &["promote", "checkout", "--full"], 0, "all steps at once by order").await;
    let status = world.rests().await.unwrap();
    assert_eq!(status.phase, Phase::Stable);
    world.is_answered_by("v2").await.unwrap();
    let (folder, _) = world.unharmed().await.unwrap();
    each_order_once(&folder, &status, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_by_hand_holds_until_resume_and_promote_ends_a_step() {
    let long = ["setWeight: 20", "pause: {duration: 2s}", "setWeight: 60", "pause: {duration: 60s}"];
    let mut world = World::serving(Manifest::new("checkout", "v1").unwrap().with_steps(&long)).await.unwrap();
    world.folder.apply(&world.first.with_version("v2")).unwrap();
    world.reaches(20).await.unwrap();
    told(&world, &["pause", "checkout", "-r", "let me look"], 0, "paused by order: let me look").await;
    let status = world.until("it is paused", |s| s.phase == Phase::Paused).await.unwrap();
    assert!(status.message.as_ref().unwrap().contains("paused by ada"), "{}", Story(&status));
    // Longer than the step lasts.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert!(stands_at(&world.folder.status("checkout").unwrap(), 20));
    told(&world, &["resume", "checkout"], 0, "resumed by order").await;
    world.reaches(60).await.unwrap();
    told(&world, &["resume", "checkout"], 1, "not paused by an order").await;
    told(&world, &["promote", "checkout"], 0, "step 4 of 4 ended by order").await;
    let status = world.rests().await.unwrap();
    let (folder, _) = world.unharmed().await.unwrap();
    each_order_once(&folder, &status, 4);
    let waves: Vec<_> = decisions(&status, "Promoted");
    assert_eq!(waves.len(), 1, "{}", Story(&status));
}

#[tokio::test(flavor = "multi_thread")]
async fn undo_goes_back_at_once_in_mid_release_and_by_steps_after_it() {
    let mut world = releasing_v2().await;
    let before = world.folder.status("checkout").unwrap();
    let (v1, v2) = (before.stable_revision.unwrap(), before.canary_revision.unwrap());
    told(&world, &["undo", "checkout"], 0, &format!("revision {v1} is wanted by order")).await;
    world.rests().await.unwrap();
    told(&world, &["undo", "checkout", "--to-revision", "nonsense"], 1, &v2).await;
    told(&world, &["retry", "checkout"], 0, "the template is wanted again by order").await;
    world.waits_for_a_person(20).await.unwrap();
    told(&world, &["promote", "--full"], 0, "").await;
    let status = world.rests().await.unwrap();
    assert_eq!(status.stable_revision.as_ref(), Some(&v2), "{}", Story(&status));
    told(&world, &["undo", "checkout", "--to-revision", &v1], 0, &v1).await;
    world.waits_for_a_person(20).await.unwrap();
    told(&world, &["promote", "--full"], 0, "").await;
    let status =
        world.until("v1 is stable again", |s| s.stable_revision.as_ref() == Some(&v1)).await.unwrap();
    each_order_once(&world.folder, &status, 6);
    world.rests().await.unwrap();
    world.is_answered_by("v1").await.unwrap();
    world.unharmed().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_given_while_nobody_runs_the_folder_is_followed_at_the_start() {
    let mut world = releasing_v2().await;
    world.folder.kill().unwrap();
    told(&world, &["abort", "checkout", "-r", "while away"], 0, "recorded; nobody runs").await;
    let sent = world.traffic.of("v2");
    wait_until("the canary goes on being served", PATIENCE, async || {
        if world.traffic.of("v2") > sent + 20 { Ok(()) } else { Err("it is not") }
    })
    .await
    .unwrap();
    world.folder.start(&[]).unwrap();
    let status = world.rests().await.unwrap();
    assert_eq!(status.phase, Phase::Aborted);
    assert!(decisions(&status, "Aborted")[0].why.contains("while away"), "{}", Story(&status));
    let (folder, _) = world.unharmed().await.unwrap();
    each_order_once(&folder, &status, 1);
    assert_eq!(folder.processes().iter().filter(|p| matches!(p.kind, Kind::Pod { .. })).count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_means_nothing_says_what_to_do_and_changes_nothing() {
    let world = World::serving(by_hand()).await.unwrap();
    told(&world, &["abrot", "checkout"], 2, "abort").await;
    told(&world, &["abort", "chekout"], 3, "default/checkout").await;
    told(&world, &["undo", "checkout"], 1, "no older revision is kept").await;
    told(&world, &["abort"], 1, "use undo").await;
    told(&world, &["pause"], 1, "nothing is being released").await;
    told(&world, &["undo", "--to-revision", "../../x"], 1, "revision").await;
    let file = world.folder.own("orders/default.checkout/1.json");
    std::fs::write(&file, r#"{"id": "1", "kind": "abrot", "who": "ada", "at": 1}"#).unwrap();
    let said = world.folder.says(&["1.json is no order", "abrot", "give orders with"]).await.unwrap();
    assert!(said.contains("it was moved to"), "{said}");
    let status = world.folder.status("checkout").unwrap();
    assert_eq!(status.phase, Phase::Stable);
    world.is_answered_by("v1").await.unwrap();
    world.unharmed().await.unwrap();
}
