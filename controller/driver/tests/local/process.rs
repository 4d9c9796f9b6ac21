//! Processes: started, known again, ended with all that they started.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::time::Duration;

use penstock_driver::local::Home;
use penstock_driver::local::process::{self, Exit, Process, Start};

use crate::program::{runs, until};

fn shell(home: &Home, script: &str) -> Process {
    let start = Start {
        program: "sh".into(),
        args: vec!["-c".into(), script.into()],
        env: BTreeMap::new(),
        dir: home.dir().to_owned(),
        mark: process::new_mark("test"),
    };
    process::start(home, &start, File::create(home.logs().join("test.log")).unwrap()).unwrap()
}

fn home() -> (tempfile::TempDir, Home) {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::open(dir.path()).unwrap();
    (dir, home)
}

fn number_in(path: &Path) -> Option<u32> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[tokio::test]
async fn an_end_is_told_with_its_code() {
    let (_dir, home) = home();
    let process = shell(&home, "exit 7");
    assert_eq!(process.ended().await, Exit::Code(7));
    process.bury();
    let process = shell(&home, "kill -9 $$");
    assert_eq!(process.ended().await, Exit::Signal(9));
    process.bury();
    assert!(!Path::new(&format!("/proc/{}", process.pid)).exists(), "it is no zombie");
}

#[tokio::test]
async fn who_ignores_sigterm_is_killed_with_its_children() {
    let (dir, home) = home();
    let process = shell(&home, "trap '' TERM; sleep 60 & echo $! > child; while :; do sleep 0.1; done");
    let child = dir.path().join("child");
    until("the child runs", || number_in(&child).is_some()).await;
    assert_eq!(process.stop(Duration::from_millis(300)).await, Exit::Signal(9));
    assert!(!runs(number_in(&child).unwrap()));
}

#[tokio::test]
async fn a_child_may_finish_within_the_grace_after_its_parent() {
    let (dir, home) = home();
    let script = "(trap 'sleep 0.5; echo done > finished; exit' TERM; echo 1 > ready; while :; do sleep 0.05; done) & wait";
    let process = shell(&home, script);
    until("the child is ready", || dir.path().join("ready").exists()).await;
    process.stop(Duration::from_secs(20)).await;
    assert!(dir.path().join("finished").exists());
}

#[tokio::test]
async fn a_start_that_nobody_wrote_down_is_found_by_its_mark() {
    let (_dir, home) = home();
    let process = shell(&home, "sleep 60 & wait");
    until("it is found", || process::find(&process.mark).as_ref() == Some(&process)).await;
    assert_eq!(process::find("test/other"), None);
    assert_eq!(process::sweep(&home, |mark| mark == process.mark), 0);
    assert!(process::sweep(&home, |_| false) >= 1);
    process.kill().await;
}

#[tokio::test]
async fn a_number_that_is_used_again_is_not_taken_for_the_process() {
    let (_dir, home) = home();
    let process = shell(&home, "sleep 60");
    let other = Process { started: process.started - 100, mark: "test/other".into(), ..process.clone() };
    assert_eq!(process.exit(), None);
    let seen = tokio::task::spawn_blocking(move || other.same_process()).await.unwrap();
    assert!(!seen);
    process.kill().await;
}
