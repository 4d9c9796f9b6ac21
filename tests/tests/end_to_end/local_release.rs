//! Releases with real processes: those that ship, and those that are rolled back.

use std::fs::File;
use std::time::Duration;

use penstock_crds::{Phase, RolloutStatus};
use penstock_tests::folder::{Folder, Story, address};
use penstock_tests::traffic::{Record, Traffic, now};
use penstock_tests::world::decisions;
use penstock_tests::{Manifest, PATIENCE, World, wait_until};

/// Releases a version that is bad, and waits until it is rolled back and gone.
async fn rolls_back(mut world: World, bad: &Manifest) -> (RolloutStatus, Record) {
    world.folder.apply(bad).unwrap();
    world.until("it is aborted", |s| s.phase == Phase::Aborted).await.unwrap();
    let status = world.rests().await.unwrap();
    world.is_answered_by("v1").await.unwrap();
    let record = world.traffic.stop().await.unwrap();
    println!("{}\n  {}", record.summary(), aborted(&status));
    if let Some(time) = record.from_bad_to_quiet(&bad.version) {
        println!("  from the first bad answer to the last request to {}: {time:?}", bad.version);
        if time > Duration::from_millis(1200) {
            println!("{}\n{}", Story(&status), world.folder.log());
        }
    }
    assert_eq!(world.folder.pods().len(), 2, "{:?}", world.folder.processes());
    (status, record)
}

fn aborted(status: &RolloutStatus) -> &str {
    let decision = status.decisions.iter().rfind(|d| d.what == "Aborted");
    &decision.unwrap_or_else(|| panic!("nothing was aborted: {}", Story(status))).why
}

/// The largest deviation from `percent` in any stretch of at most 1,000 requests.
fn largest_deviation(versions: &[bool], percent: u32) -> f64 {
    let share = f64::from(percent) / 100.0;
    let mut deviation = vec![0.0];
    for (n, canary) in versions.iter().enumerate() {
        deviation.push(deviation[n] + f64::from(u8::from(*canary)) - share);
    }
    let windows = (0..deviation.len()).map(|from| {
        let until = deviation.len().min(from + 1001);
        deviation[from..until].iter().map(|d| (d - deviation[from]).abs()).fold(0.0, f64::max)
    });
    windows.fold(0.0, f64::max)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_version_takes_over_step_by_step_with_exact_shares_and_no_failed_request() {
    let weights = [10, 25, 50, 75, 100];
    let mut steps = Vec::new();
    for weight in weights {
        steps.extend([format!("setWeight: {weight}"), "pause: {duration: 1s}".to_owned()]);
    }
    let first = Manifest { steps, ..Manifest::new("checkout", "v1").unwrap() };
    let mut folder = Folder::serving(&first).await.unwrap();
    let deployed = folder.status("checkout").unwrap();
    assert_eq!(deployed.decisions.iter().map(|d| d.what.as_str()).collect::<Vec<_>>(), ["Deployed"]);

    let traffic = Traffic::one_by_one(address(&first));
    folder.apply(&first.with_version("v2")).unwrap();
    let mut acknowledged = Vec::new();
    for weight in weights {
        let applied =
            |s: &RolloutStatus| s.split.as_ref().is_some_and(|s| s.weight == weight && s.acknowledged);
        folder.until("checkout", &format!("the proxy gives {weight} %"), applied).await.unwrap();
        acknowledged.push(now());
    }
    let status = folder.rests(&first).await.unwrap();
    let record = traffic.stop().await.unwrap();
    println!("{}", record.summary());
    assert_eq!(record.failed(), 0, "{}\n{}", record.failures(), Story(&status));

    let raised: Vec<_> =
        status.decisions.iter().filter(|d| d.what == "Advanced" || d.what == "Completed").collect();
    assert_eq!(raised.iter().filter_map(|d| d.weight).collect::<Vec<_>>(), [10, 25, 50, 75, 100, 100]);
    for (n, weight) in weights.into_iter().enumerate() {
        let end = raised[n + 1].time.as_ref().unwrap().0.as_millisecond();
        let step = record.between(acknowledged[n], u64::try_from(end).unwrap());
        let versions: Vec<bool> = step.0.iter().map(|exchange| exchange.version() == "v2").collect();
        let deviation = largest_deviation(&versions, weight.try_into().unwrap());
        println!(
            "{weight:3} %: {} of {} requests, off by at most {deviation:.2}",
            step.of("v2"),
            step.0.len()
        );
        assert!(versions.len() > 50, "the client has seen little of this step: {}", versions.len());
        assert!(deviation <= 1.0, "off by {deviation} in a window of 1,000 requests");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_fails_a_fifth_of_its_requests_is_rolled_back() {
    let world = World::serving(Manifest::new("checkout", "v1").unwrap()).await.unwrap();
    let bad = world.first.with_version("v2").with_env("FAIL_SHARE", 20);
    let (status, record) = rolls_back(world, &bad).await;
    let why = aborted(&status);
    assert!(why.contains("errors:") && why.contains("requests"), "{why}");
    assert_eq!(record.failed(), record.0.iter().filter(|e| e.failed() && e.version() == "v2").count());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_too_slow_is_rolled_back() {
    let mut first = Manifest::new("checkout", "v1").unwrap();
    first.metrics.push("{name: slow, latency: {quantile: \"0.99\", max: 500ms}}".to_owned());
    let world = World::serving(first).await.unwrap();
    let bad = world.first.with_version("v2").with_env("SLOW_SHARE", 30).with_env("SLOW_MS", 800);
    let (status, record) = rolls_back(world, &bad).await;
    let why = aborted(&status);
    for part in ["slow:", "500ms", "requests took longer"] {
        assert!(why.contains(part), "{part} is missing: {why}");
    }
    assert_eq!(record.failed(), 0, "slow is not failed: {}", record.failures());
    assert!(record.of("v2") > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_gets_ready_and_then_crashes_again_and_again_is_rolled_back() {
    let world = World::serving(Manifest {
        deadline: 5,
        ..Manifest::new("checkout", "v1").unwrap().with_steps(&["setWeight: 20", "pause: {duration: 2s}"])
    })
    .await
    .unwrap();
    let bad = world.first.with_version("v2").with_env("CRASH_AFTER", 900);
    let (status, _) = rolls_back(world, &bad).await;
    let why = aborted(&status);
    let told = ["exit code 3", "errors:", "pods restarted"];
    assert!(told.iter().any(|part| why.contains(part)), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_never_gets_ready_is_rolled_back_and_no_request_noticed() {
    let world =
        World::serving(Manifest { deadline: 3, ..Manifest::new("checkout", "v1").unwrap() }).await.unwrap();
    let bad = world.first.with_version("v2").with_env("NEVER_READY", 1);
    let (status, record) = rolls_back(world, &bad).await;
    let why = aborted(&status);
    for part in ["0 of 1", "no progress for", "503"] {
        assert!(why.contains(part), "{part} is missing: {why}");
    }
    assert_eq!((record.failed(), record.of("v2")), (0, 0), "{}", record.failures());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_whose_command_does_not_exist_is_rolled_back_and_no_request_noticed() {
    let world =
        World::serving(Manifest { deadline: 3, ..Manifest::new("checkout", "v1").unwrap() }).await.unwrap();
    let bad = Manifest { command: "/no/such/program".to_owned(), ..world.first.with_version("v2") };
    let (status, record) = rolls_back(world, &bad).await;
    let why = aborted(&status);
    for part in ["/no/such/program", "No such file", "check command"] {
        assert!(why.contains(part), "{part} is missing: {why}");
    }
    assert_eq!((record.failed(), record.of("v2")), (0, 0), "{}", record.failures());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_lacks_a_pod_becomes_stable_when_the_pod_is_back() {
    let mut world = World::serving(Manifest::new("checkout", "v1").unwrap()).await.unwrap();
    let last = ["setWeight: 100", "pause: {duration: 400ms}"];
    // It takes longer to get ready again than the step lasts.
    let slow = world.first.with_version("v2").with_steps(&last).with_env("READY_AFTER", 1500);
    world.folder.apply(&slow).unwrap();
    let status = world.reaches(100).await.unwrap();
    let canary = status.canary_revision.clone().unwrap();
    world.folder.kill_pod(&canary).unwrap();
    let status = world.until("it is stable", |s| s.stable_revision.as_ref() == Some(&canary)).await.unwrap();
    let revision = status.revisions.iter().find(|r| r.name == canary).unwrap();
    assert_eq!((revision.ready, revision.scale), (2, 2), "{}", Story(&status));
    world.rests().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abort_waits_for_no_disk_however_slow() {
    let mut world = World::serving(Manifest::new("checkout", "v1").unwrap()).await.unwrap();
    let steps = ["setWeight: 20", "pause: {}"];
    world.folder.apply(&world.first.with_version("v2").with_steps(&steps)).unwrap();
    world.waits_for_a_person(20).await.unwrap();
    // No save ends while somebody else has the lock, as if the disk took its time.
    let lock = File::open(world.folder.own("state/.default.checkout.lock")).unwrap();
    lock.lock().unwrap();
    let ordered = world.penstock(&["abort", "--no-wait"]).await.unwrap();
    assert_eq!(ordered.code, Some(0), "{ordered:?}");
    world.folder.says(&["default.checkout.json", "is not written", "disk is busy"]).await.unwrap();
    wait_until("the canary gets nothing", PATIENCE, async || {
        let before = world.traffic.of("v2");
        world.is_answered_by("v1").await?;
        let sent = world.traffic.of("v2") - before;
        if sent == 0 { Ok(()) } else { anyhow::bail!("{sent} requests") }
    })
    .await
    .unwrap();
    drop(lock);
    let status = world.rests().await.unwrap();
    assert_eq!(
        (status.phase, decisions(&status, "Aborted").len()),
        (Phase::Aborted, 1),
        "{}",
        Story(&status)
    );
    world.unharmed().await.unwrap();
}
