//! What a person sees of a release without changing anything: check, history, diff, logs, and the live picture.

use std::process::{Command, Stdio};

use penstock_crds::{Role, RolloutStatus};
use penstock_tests::{Manifest, World, server};

fn by_hand() -> Manifest {
    Manifest::new("checkout", "v1").unwrap().with_steps(&["setWeight: 20", "pause: {}"])
}

async fn told(world: &World, arguments: &[&str], code: i32, parts: &[&str]) -> String {
    let said = world.penstock(arguments).await.unwrap();
    assert_eq!(said.code, Some(code), "{arguments:?}: {said:?}");
    let all = format!("{}{}", said.out, said.err);
    for part in parts {
        assert!(all.contains(part), "{arguments:?} says no `{part}`: {all}");
    }
    all
}

/// 300 requests a second, a fifth of them to the canary, none failed.
fn is_told(status: &RolloutStatus) -> bool {
    let of = |role: Role| status.revisions.iter().find(|r| r.role == role)?.traffic.as_ref();
    let (Some(canary), Some(stable)) = (of(Role::Canary), of(Role::Stable)) else { return false };
    let all = canary.rate + stable.rate;
    let well = [canary, stable].iter().all(|t| t.errors == Some(0.0) && t.latency.is_some());
    well && (100.0..400.0).contains(&all) && (0.15..0.25).contains(&(canary.rate / all))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_under_way_is_told_by_every_command_that_looks() {
    let mut world = World::serving(by_hand()).await.unwrap();
    told(&world, &["logs", "checkout"], 3, &["releases nothing", "--stable"]).await;
    told(&world, &["diff", "checkout"], 3, &["nothing to compare"]).await;
    world.folder.apply(&world.first.with_version("v2")).unwrap();
    world.waits_for_a_person(20).await.unwrap();
    world.until("the status tells what both revisions are sent", is_told).await.unwrap();
    told(&world, &["get", "checkout"], 0, &["0 % failed", "p99"]).await;

    let well = told(
        &world,
        &["check", "--wait", "20s"],
        0,
        &["the proxy answers", "runs it, process", "is applied by the proxy at", "are counted by 1 router"],
    )
    .await;
    assert!(!well.contains('✗'), "{well}");
    told(&world, &["check", "rollout/checkout", "-o", "json"], 0, &["\"success\": true"]).await;
    told(&world, &["check", "chekout"], 3, &["did you mean"]).await;
    told(&world, &["history", "checkout"], 0, &["canary", "under way", "stable", "in service"]).await;
    told(&world, &["diff", "checkout"], 0, &["-      value: v1", "+      value: v2"]).await;
    told(&world, &["diff", "checkout", "zzz"], 3, &["no revision `zzz` is kept"]).await;
    told(&world, &["logs", "checkout", "--tail", "3"], 0, &[]).await;
    told(&world, &["logs", "checkout", "--since", "5m"], 2, &["are for clusters"]).await;

    world.penstock(&["abort", "--reason", "enough"]).await.unwrap();
    world.rests().await.unwrap();
    told(&world, &["history", "checkout"], 0, &["aborted: ", "enough"]).await;
    world.unharmed().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_on_a_terminal_gives_it_back_as_it_was() {
    let world = World::serving(by_hand()).await.unwrap();
    let program = server::binary("penstock").unwrap();
    let watch = format!(
        "timeout --foreground --signal INT 2 '{}' --dir '{}' get checkout -w",
        program.display(),
        world.folder.path().display()
    );
    let mut script = Command::new("script");
    script.args(["-qec", &watch, "/dev/null"]).stdin(Stdio::null()).env("TERM", "xterm");
    let output = script.output().unwrap();
    let seen = String::from_utf8_lossy(&output.stdout).into_owned();
    let begun = seen.find("\x1b[?1049h").expect("a page of its own");
    let ended = seen.rfind("\x1b[?1049l").expect("the page before");
    assert!(begun < ended && seen[begun..ended].contains("checkout"), "{seen:?}");
    assert!(seen[..ended].contains("\x1b[?25h") && seen[..ended].contains("\x1b[?7h"), "cursor and wrapping");
    assert!(seen[ended..].contains("default/checkout"), "the last picture stays: {seen:?}");
    // Into a file it says the same without anything that steers a terminal.
    let mut plain = Command::new("timeout");
    plain.args(["--signal", "INT", "2"]).arg(&program).arg("--dir").arg(world.folder.path());
    let plain = plain.args(["get", "checkout", "-w"]).output().unwrap();
    let plain = String::from_utf8_lossy(&plain.stdout).into_owned();
    assert!(plain.contains("default/checkout") && !plain.contains('\x1b'), "{plain:?}");
    world.unharmed().await.unwrap();
}
