//! Manifests in a real folder.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use penstock_core::observation::OrderKind;
use penstock_core::time::Time;
use penstock_driver::local::manifests::{Manifests, Wanted};
use penstock_driver::local::orders::{Orders, Wish};
use penstock_driver::local::{Home, Key};
use tokio::sync::watch;

const GOOD: &str = "
apiVersion: penstock.dev/v1alpha1
kind: Rollout
metadata: {name: checkout, namespace: shop}
spec:
  replicas: 3
  selector: {matchLabels: {app: checkout}}
  template:
    metadata: {labels: {app: checkout}}
    spec: {containers: [{name: app, image: shop/checkout, command: [./app]}]}
  service: {name: checkout, port: 80, targetPort: 8080}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: of-somebody-else}
";

async fn until(wanted: &mut watch::Receiver<Arc<Wanted>>, what: &str, holds: impl Fn(&Wanted) -> bool) {
    let changed = wanted.wait_for(|wanted| holds(wanted));
    let seen = tokio::time::timeout(std::time::Duration::from_secs(20), changed).await;
    assert!(seen.is_ok(), "waited in vain until {what}");
}

fn replicas(wanted: &Wanted) -> Option<u32> {
    wanted.rollouts.get(&Key::new("shop", "checkout").unwrap()).map(|m| m.admitted.strategy.replicas)
}

fn replace(path: &Path, text: &str) {
    let temporary = path.with_extension("swp");
    fs::write(&temporary, text).unwrap();
    fs::rename(temporary, path).unwrap();
}

#[tokio::test]
async fn saving_a_file_applies_it_and_removing_it_deletes_the_rollout() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::open(dir.path()).unwrap();
    let file = dir.path().join("checkout.yaml");
    fs::write(&file, GOOD).unwrap();
    let manifests = Manifests::watch(&home).unwrap();
    let mut wanted = manifests.wanted();
    assert_eq!(replicas(&wanted.borrow()), Some(3));
    fs::write(&file, GOOD.replace("replicas: 3", "replicas: 4")).unwrap();
    until(&mut wanted, "it is applied", |w| replicas(w) == Some(4)).await;
    replace(&file, &GOOD.replace("replicas: 3", "replicas: 5"));
    until(&mut wanted, "it is replaced", |w| replicas(w) == Some(5)).await;
    fs::write(&file, GOOD.replace("replicas: 3", "replicas: many")).unwrap();
    until(&mut wanted, "it is refused", |w| w.problems.len() == 1).await;
    assert_eq!(replicas(&wanted.borrow()), Some(5));
    assert!(
        wanted.borrow().problems[0].text.starts_with("checkout.yaml:6: spec.replicas"),
        "{:?}",
        wanted.borrow().problems
    );
    fs::remove_file(&file).unwrap();
    until(&mut wanted, "it is gone", |w| *w == Wanted::default()).await;
}

#[tokio::test]
async fn a_file_that_was_spoilt_while_nobody_watched_means_what_it_meant() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::open(dir.path()).unwrap();
    let file = dir.path().join("checkout.yaml");
    fs::write(&file, GOOD).unwrap();
    drop(Manifests::watch(&home).unwrap());
    fs::write(&file, &GOOD[..GOOD.len() / 2]).unwrap();
    let manifests = Manifests::watch(&home).unwrap();
    let wanted = manifests.wanted();
    assert_eq!(replicas(&wanted.borrow()), Some(3));
    assert_eq!(wanted.borrow().problems.len(), 1);
}

#[tokio::test]
async fn a_file_that_was_removed_while_nobody_watched_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::open(dir.path()).unwrap();
    let file = dir.path().join("checkout.yaml");
    fs::write(&file, GOOD).unwrap();
    drop(Manifests::watch(&home).unwrap());
    fs::remove_file(&file).unwrap();
    let manifests = Manifests::watch(&home).unwrap();
    until(&mut manifests.wanted(), "it is gone", |w| w.rollouts.is_empty()).await;
}

#[tokio::test]
async fn an_order_is_heard_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::open(dir.path()).unwrap();
    let orders = Orders::new(&home);
    let key = Key::new("shop", "checkout").unwrap();
    let mut watched = orders.watch();
    let wish = Wish { kind: OrderKind::Abort, who: "ada".into(), reason: String::new() };
    orders.submit(&key, wish, Time(1)).unwrap();
    while orders.waiting(&key).unwrap().orders.is_empty() {
        watched.changed().await;
    }
}
