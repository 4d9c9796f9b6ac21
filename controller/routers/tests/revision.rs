//! The Service of a revision.

#![allow(clippy::unwrap_used)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use penstock_core::revision::Revision;
use penstock_routers::live::says;
use penstock_routers::revision::{Backend, service};

fn owner() -> OwnerReference {
    OwnerReference {
        name: "checkout".into(),
        kind: "Rollout".into(),
        uid: "u".into(),
        ..OwnerReference::default()
    }
}

fn backend() -> Backend {
    Backend {
        namespace: "shop".into(),
        rollout: "checkout".into(),
        revision: Revision::new("5c6b7").unwrap(),
        port: 8080,
        app_protocol: Some("kubernetes.io/h2c".into()),
    }
}

#[test]
fn a_revision_has_a_service_that_selects_its_pods_and_no_others() {
    insta::assert_yaml_snapshot!(service(&backend(), owner()));
}

#[test]
fn a_selector_that_somebody_has_changed_is_seen() {
    let wanted = service(&backend(), owner());
    let mut live = wanted.clone();
    live.spec.as_mut().unwrap().session_affinity = Some("None".into());
    assert!(says(&live, &wanted), "an API server's defaults change nothing");
    let selector = live.spec.as_mut().unwrap().selector.as_mut().unwrap();
    selector.insert("app".into(), "checkout".into());
    assert!(!says(&live, &wanted));
}
