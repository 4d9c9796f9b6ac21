//! Bad input: the message names file, field and remedy, what ran before goes on, and nothing is lost.

use std::fs;
use std::net::TcpListener;

use penstock_crds::{Phase, RolloutStatus};
use penstock_tests::folder::{Folder, Story, address};
use penstock_tests::world::{decisions, stands_at};
use penstock_tests::{Manifest, PATIENCE, World, port, wait_until};
use rustix::process::Signal;
use serde_json::Value;

const STATE: &str = "state/default.checkout.json";
const BEFORE: &str = "state/default.checkout.json.bak";
const ROUTE: &str = "proxy/default.checkout.httproute.json";

fn by_hand() -> Manifest {
    Manifest::new("checkout", "v1").unwrap().with_steps(&["setWeight: 20", "pause: {}"])
}

async fn releasing_v2() -> World {
    let mut world = World::serving(by_hand()).await.unwrap();
    world.folder.apply(&world.first.with_version("v2")).unwrap();
    world.waits_for_a_person(20).await.unwrap();
    world
}

/// Goes on to the end; no request was lost on the way.
async fn ships(mut world: World) {
    assert_eq!(world.penstock(&["promote", "checkout"]).await.unwrap().code, Some(0));
    let status = world.rests().await.unwrap();
    assert_eq!(status.phase, Phase::Stable, "{}", Story(&status));
    world.is_answered_by("v2").await.unwrap();
    world.unharmed().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spec_that_is_refused_says_where_and_what_to_write_and_the_release_goes_on() {
    let mut world = releasing_v2().await;
    let good = world.first.with_version("v2");
    let bad: [(&str, &str, &[&str]); 6] = [
        ("  replicas: 2", "  replica: 2", &["spec.replica:", "did you mean `replicas`?"]),
        (
            "setWeight: 20",
            "setWeight: 140",
            &["steps[0].setWeight", "140 is outside 0 to 100", "write 0 to 100"],
        ),
        (
            "- pause: {}",
            "- setWeight: 50\n        - setWeight: 30",
            &["steps[2].setWeight", "30 comes after 50", "write 50 or more"],
        ),
        (
            "pause: {}",
            "pause: {duration: \"5\"}",
            &["steps[1].pause.duration", "no unit", "write 5s, 5m or 5h"],
        ),
        (
            "errorRate: {max: \"1%\"}",
            "latency: {quantile: \"99\", max: 500ms}",
            &["metrics[0].latency.quantile", "`99`", "write \"0.99\""],
        ),
        ("spec:\n  replicas", "spec: [\n  replicas", &["checkout.yaml:"]),
    ];
    for (old, new, parts) in bad {
        let text = good.text().replacen(old, new, 1);
        assert_ne!(text, good.text(), "{old} is not in the manifest");
        world.folder.write("checkout.yaml", &text).unwrap();
        let line = world.folder.says(&[parts, &["checkout.yaml:"]].concat()).await.unwrap();
        let told = |s: &RolloutStatus| {
            let message = s.message.as_deref().unwrap_or_default();
            s.phase == Phase::Invalid && parts.iter().all(|part| message.contains(part))
        };
        let status = world.until("the status says it too", told).await.unwrap();
        assert!(stands_at(&status, 20), "{line}: {}", Story(&status));
        let checked = world.penstock(&["check", &world.folder.path().display().to_string()]).await.unwrap();
        let all = format!("{}{}", checked.out, checked.err);
        assert_eq!(checked.code, Some(1), "{checked:?}");
        assert!(parts.iter().all(|part| all.contains(part)), "{parts:?}: {checked:?}");
    }
    world.folder.apply(&good).unwrap();
    world.waits_for_a_person(20).await.unwrap();
    world.until("the refusal is gone", |s| s.phase == Phase::Paused).await.unwrap();
    ships(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_rollouts_with_one_service_the_first_goes_on_and_the_second_is_named() {
    let mut world = World::serving(by_hand()).await.unwrap();
    let second = Manifest { name: "another".to_owned(), port: port::free().unwrap(), ..by_hand() };
    let text = second.text().replace("service: {name: another,", "service: {name: checkout,");
    world.folder.write("another.yaml", &text).unwrap();
    world
        .folder
        .says(&[
            "another.yaml",
            "spec.service.name",
            "belongs to the Rollout `checkout`",
            "name another Service",
        ])
        .await
        .unwrap();
    world.is_answered_by("v1").await.unwrap();
    assert!(!world.folder.own("state/default.another.json").exists());
    world.folder.apply(&second).unwrap();
    world.folder.rests(&second).await.unwrap();
    world.until("the first is as it was", |s| s.phase == Phase::Stable).await.unwrap();
    world.unharmed().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named_and_taken_when_it_is_free() {
    let mut world = World::serving(by_hand()).await.unwrap();
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    let cart =
        Manifest { port: stranger.local_addr().unwrap().port(), ..Manifest::new("cart", "c1").unwrap() };
    world.folder.apply(&cart).unwrap();
    let port = cart.port.to_string();
    world
        .folder
        .says(&["cart.yaml", &port, "penstock.dev/local-port", "another program listens"])
        .await
        .unwrap();
    drop(stranger);
    world.folder.rests(&cart).await.unwrap();
    // Two Rollouts can't share a port either; the one that has it keeps it.
    world.folder.apply(&Manifest { port: cart.port, ..world.first.clone() }).unwrap();
    let shared: &[&str] = &["default/checkout", &port, "default/cart is", "penstock.dev/local-port"];
    let told =
        |s: &RolloutStatus| shared.iter().all(|part| s.message.as_ref().is_some_and(|m| m.contains(part)));
    world.until("the status says so", told).await.unwrap();
    world.is_answered_by("v1").await.unwrap();
    world.unharmed().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_version_that_never_gets_ready_is_told_and_mended_by_another() {
    let mut folder = Folder::new().unwrap();
    let first = by_hand();
    folder.apply(&first.with_env("NEVER_READY", 1)).unwrap();
    folder.start(&[]).unwrap();
    let told = |s: &RolloutStatus| {
        let message = s.message.as_deref().unwrap_or_default();
        ["0 of 2 pods", "is not ready", "503"].iter().all(|part| message.contains(part))
    };
    let status = folder.until("checkout", "the status says why", told).await.unwrap();
    assert_eq!(status.phase, Phase::Deploying);
    let shown = folder.penstock(&["get", "checkout"]).await.unwrap();
    assert!(shown.out.contains("503") && shown.out.contains("not ready"), "{shown:?}");
    folder.apply(&first).unwrap();
    let status = folder.rests(&first).await.unwrap();
    assert_eq!(status.phase, Phase::Stable);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_file_cut_in_half_loses_the_last_save_at_most() {
    let mut world = releasing_v2().await;
    world.folder.kill().unwrap();
    let whole = fs::read(world.folder.own(STATE)).unwrap();
    fs::write(world.folder.own(STATE), &whole[..whole.len() / 2]).unwrap();
    let shown = world.penstock(&["get", "checkout"]).await.unwrap();
    assert_eq!(shown.code, Some(0));
    assert!(shown.err.contains("default.checkout.json cannot be understood"), "{shown:?}");
    world.folder.start(&[]).unwrap();
    world.folder.says(&[STATE, "cannot be understood", "only the last save is lost"]).await.unwrap();
    world.waits_for_a_person(20).await.unwrap();
    ships(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_file_spoilt_while_penstock_runs_is_written_again() {
    let mut world = releasing_v2().await;
    let whole = fs::read(world.folder.own(STATE)).unwrap();
    fs::write(world.folder.own(STATE), &whole[..whole.len() / 2]).unwrap();
    world.is_answered_by("v2").await.unwrap();
    world.waits_for_a_person(20).await.unwrap();
    ships(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_both_state_files_cut_pods_and_split_go_on_and_the_way_out_is_told() {
    let mut world = releasing_v2().await;
    let canary = world.folder.status("checkout").unwrap().canary_revision.unwrap();
    world.folder.kill().unwrap();
    for file in [STATE, BEFORE] {
        let whole = fs::read(world.folder.own(file)).unwrap();
        fs::write(world.folder.own(file), &whole[..whole.len() / 2]).unwrap();
    }
    world.folder.start(&[]).unwrap();
    let parts = [STATE, BEFORE, "cannot be understood", "what is lost is the status", "move it away"];
    world.folder.says(&parts).await.unwrap();
    for version in ["v1", "v2"] {
        world.is_answered_by(version).await.unwrap();
    }
    for file in [STATE, BEFORE] {
        fs::rename(world.folder.own(file), world.folder.own(&format!("{file}.spoilt"))).unwrap();
    }
    // The way out: what is in service is taken over, and the release begins anew.
    let again = |s: &RolloutStatus| s.canary_revision.as_ref() == Some(&canary);
    world.until("the split is found again", again).await.unwrap();
    let status = world.waits_for_a_person(20).await.unwrap();
    assert!(
        decisions(&status, "Repaired")[0].why.contains("split in service is taken over"),
        "{}",
        Story(&status)
    );
    ships(world).await;
}

/// As editors do: what is half written would be put right at once, and the rest of it lost.
fn edit_route(folder: &Folder, edit: impl Fn(&mut Value)) {
    let mut route: Value = serde_json::from_slice(&fs::read(folder.own(ROUTE)).unwrap()).unwrap();
    edit(&mut route);
    let draft = folder.own(ROUTE).with_extension("draft");
    fs::write(&draft, serde_json::to_vec(&route).unwrap()).unwrap();
    fs::rename(draft, folder.own(ROUTE)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_edited_by_hand_are_put_back_with_a_decision() {
    let mut world = releasing_v2().await;
    edit_route(&world.folder, |route| {
        let backends = route["spec"]["rules"][0]["backendRefs"].as_array_mut().unwrap();
        backends.iter_mut().for_each(|backend| backend["weight"] = Value::from(50));
    });
    let status = world.until("it is told", |s| !decisions(s, "Repaired").is_empty()).await.unwrap();
    let why = &decisions(&status, "Repaired")[0].why;
    assert!(why.contains("edited from outside") && why.contains("50"), "{why}");
    world.reaches(20).await.unwrap();
    ships(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_is_garbage_or_gone_is_written_anew() {
    let mut world = releasing_v2().await;
    fs::write(world.folder.own(ROUTE), "{\"spec\": garbage").unwrap();
    world.folder.says(&["default.checkout.httproute.json", "written anew"]).await.unwrap();
    let stands =
        |folder: &Folder| fs::read_to_string(folder.own(ROUTE)).is_ok_and(|t| t.contains("backendRefs"));
    let written = async || if stands(&world.folder) { Ok(()) } else { Err("it is not") };
    wait_until("it is written anew", PATIENCE, written).await.unwrap();
    world.is_answered_by("v2").await.unwrap();
    world.waits_for_a_person(20).await.unwrap();
    ships(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_penstock_for_a_folder_is_told_who_runs_it() {
    let world = World::serving(by_hand()).await.unwrap();
    let pid = world.folder.pid().unwrap().to_string();
    let said = world.penstock(&["local"]).await.unwrap();
    assert_eq!(said.code, Some(1), "{said:?}");
    let folder = world.folder.path().display().to_string();
    for part in [folder.as_str(), &format!("process {pid}"), &format!("kill {pid}"), "Ctrl-C"] {
        assert!(said.err.contains(part), "`{part}` is missing: {said:?}");
    }
    world.is_answered_by("v1").await.unwrap();
    world.unharmed().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_empty_or_missing_says_what_to_do() {
    let mut folder = Folder::new().unwrap();
    let said = folder.penstock(&["get"]).await.unwrap();
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(said.err.contains("nothing was ever run in") && said.err.contains("penstock local"), "{said:?}");
    let said = folder.penstock(&["local", "/no/such/folder"]).await.unwrap();
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(said.err.contains("there is no folder /no/such/folder: make it"), "{said:?}");
    folder.start(&[]).unwrap();
    folder.says(&["running"]).await.unwrap();
    let said = folder.penstock(&["abort"]).await.unwrap();
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(folder.end(Signal::INT).unwrap().0.success());
    assert_eq!(folder.processes(), []);
}

/// In a mount namespace of its own, on a disk of its own that can be filled.
#[test]
fn a_full_disk_is_told_and_nothing_is_lost() {
    const PLACE: &str = "PENSTOCK_TEST_SMALL_DISK";
    if std::env::var_os(PLACE).is_some() {
        return on_a_small_disk();
    }
    let name = "local_input::a_full_disk_is_told_and_nothing_is_lost";
    let script = format!(
        "mount -t tmpfs -o size=1m tmpfs /mnt && {PLACE}=/mnt exec \"$0\" --exact {name} --nocapture"
    );
    let how = if rustix::process::geteuid().is_root() { "-m" } else { "-Urm" };
    let own_mounts = |script: &str| {
        let mut command = std::process::Command::new("unshare");
        command.args([how, "sh", "-c", script]).arg(std::env::current_exe().unwrap());
        command.status().is_ok_and(|status| status.success())
    };
    if !own_mounts("mount -t tmpfs -o size=1m tmpfs /mnt") {
        assert!(
            std::env::var("CI").is_err(),
            "nothing is left out with CI set: no mount namespace is to be had"
        );
        println!("{name} is left out: this machine gives nobody a mount namespace (unshare {how})");
        return;
    }
    assert!(own_mounts(&script), "it failed on the small disk, see above");
}

#[tokio::main]
async fn on_a_small_disk() {
    let first = by_hand();
    let mut folder = Folder::inside(std::path::Path::new("/mnt")).unwrap();
    folder.apply(&first).unwrap();
    folder.start(&[]).unwrap();
    folder.rests(&first).await.unwrap();
    let traffic = penstock_tests::Traffic::steady(address(&first), 300);
    let mut world = World { folder, first, traffic };
    world.folder.apply(&world.first.with_version("v2")).unwrap();
    world.waits_for_a_person(20).await.unwrap();
    // The order is given while there is room, and followed when there is none.
    let filler = std::path::Path::new("/mnt/filler");
    world.folder.freeze().unwrap();
    assert_eq!(world.penstock(&["abort", "--no-wait", "-r", "no room"]).await.unwrap().code, Some(0));
    fill(filler);
    world.folder.thaw().unwrap();
    world.folder.says(&["/shop/.penstock/", "disk is full", "free some space"]).await.unwrap();
    fs::remove_file(filler).unwrap();
    let status = world.rests().await.unwrap();
    assert_eq!(
        (status.phase, decisions(&status, "Aborted").len()),
        (Phase::Aborted, 1),
        "{}",
        Story(&status)
    );
    world.is_answered_by("v1").await.unwrap();
    world.unharmed().await.unwrap();
}

fn fill(path: &std::path::Path) {
    use std::io::Write;
    let mut file = fs::File::create(path).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    while file.write_all(&[0]).is_ok() {}
}
