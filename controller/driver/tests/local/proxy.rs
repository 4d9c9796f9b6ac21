//! The proxy's process: adopted, started again, taken away. Its program here is the one of these tests.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use penstock_driver::local::Home;
use penstock_driver::local::pods::{Pace, Supervisor};
use penstock_driver::local::proxy::Proxy;
use penstock_driver::local::stop::stop_all;

use crate::program::{ACT, command, runs, until};

/// A program that listens on the address that follows `--admin`.
fn program(dir: &Path) -> PathBuf {
    let path = dir.join("proxy-program");
    let script = format!(
        "#!/bin/sh\nexport PORT=${{5##*:}} {ACT}=serve\necho \"$@\" > arguments\nexec {}\n",
        command().join(" ")
    );
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    path
}

fn pid(proxy: &Proxy) -> Option<u32> {
    proxy.state().borrow().process.as_ref().map(|process| process.pid)
}

async fn serves(proxy: &Proxy) {
    until("it serves", || std::net::TcpStream::connect(proxy.admin()).is_ok()).await;
}

#[tokio::test]
async fn the_proxy_is_adopted_started_again_and_taken_away() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::open(dir.path()).unwrap();
    let program = program(dir.path());
    let proxy = Proxy::open(&home, program.clone()).unwrap();
    serves(&proxy).await;
    let (first, admin) = (pid(&proxy).unwrap(), proxy.admin());
    let arguments = std::fs::read_to_string(dir.path().join("arguments")).unwrap();
    assert_eq!(
        arguments.trim(),
        format!("run --config {} --admin {admin} --instance local", home.proxy().display())
    );

    drop(proxy);
    assert!(runs(first), "it outlives who started it");
    let proxy = Proxy::open(&home, program).unwrap();
    assert_eq!((pid(&proxy), proxy.admin()), (Some(first), admin));

    Command::new("kill").args(["-9", &first.to_string()]).status().unwrap();
    until("it is started again", || pid(&proxy).is_some_and(|pid| pid != first)).await;
    serves(&proxy).await;
    assert_eq!((proxy.admin(), proxy.state().borrow().restarts), (admin, 1));

    let second = pid(&proxy).unwrap();
    let pods = Supervisor::open(&home, Pace::default()).unwrap();
    assert!(runs(second), "who looks for stray pods leaves the proxy alone");
    assert!(stop_all(&proxy, &pods, Duration::from_secs(5)).await);
    assert!(!runs(second));
}

#[tokio::test]
async fn a_proxy_that_cannot_be_started_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::open(dir.path()).unwrap();
    let proxy = Proxy::open(&home, dir.path().join("nothing-here")).unwrap();
    let mut state = proxy.state();
    let told = state.wait_for(|state| state.trouble.is_some()).await.unwrap().clone();
    assert!(told.trouble.unwrap().contains("nothing-here"));
    assert!(proxy.stop(Duration::from_secs(1)).await);
}
