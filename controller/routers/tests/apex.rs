//! The Service that clients call: made, taken over, given back.

#![allow(clippy::unwrap_used)]

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use penstock_routers::apex::{
    ADOPTED_FROM, Apex, Standing, adopt, give_back, service, stands, state, taken_for, warning,
};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use serde_json::{Value, json};

fn apex() -> Apex {
    Apex {
        namespace: "shop".into(),
        rollout: "checkout".into(),
        name: "checkout".into(),
        port: 80,
        target_port: 20_001,
    }
}

fn owner(kind: &str, name: &str, uid: &str) -> OwnerReference {
    let (kind, name, uid) = (kind.into(), name.into(), uid.into());
    OwnerReference { kind, name, uid, controller: Some(true), ..OwnerReference::default() }
}

/// A Service of an app that runs for a long time already, as an API server returns it.
fn lived_in() -> Value {
    json!({
        "metadata": {
            "name": "checkout", "namespace": "shop", "uid": "s", "resourceVersion": "7",
            "labels": {"app": "checkout", "team": "pay"},
            "annotations": {"penstock.dev/adopt": "true", "note": "ask before editing"},
        },
        "spec": {
            "type": "LoadBalancer", "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"],
            "sessionAffinity": "ClientIP", "internalTrafficPolicy": "Cluster", "externalTrafficPolicy": "Cluster",
            "selector": {"app": "checkout", "tier": "web"},
            "ports": [{"name": "web", "protocol": "TCP", "port": 80, "targetPort": "http", "nodePort": 31080, "appProtocol": "http"}],
        },
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}},
    })
}

fn typed(service: &Value) -> Service {
    serde_json::from_value(service.clone()).unwrap()
}

fn adopted() -> Service {
    let mut service = typed(&lived_in());
    adopt(&mut service, &apex()).unwrap();
    service
}

fn edited(edit: impl FnOnce(&mut Value)) -> Service {
    let mut service = lived_in();
    edit(&mut service);
    typed(&service)
}

fn why(standing: Standing) -> String {
    let Standing::Foreign(conflict) = standing else { panic!("{standing:?} is not foreign") };
    conflict.to_string()
}

#[test]
fn a_rollout_that_finds_no_service_makes_one() {
    let made = service(&apex(), owner("Rollout", "checkout", "r"));
    assert_eq!(state(&made, &apex(), "r"), Standing::Ours);
    insta::assert_yaml_snapshot!(made);
}

#[test]
fn a_service_that_an_earlier_rollout_left_behind_is_ours() {
    let mut left = service(&apex(), owner("Rollout", "checkout", "r"));
    left.metadata.owner_references = None;
    assert_eq!(state(&left, &apex(), "r2"), Standing::Ours);
    left.metadata.labels = None;
    assert!(why(state(&left, &apex(), "r2")).contains("is not Penstock's"));
}

#[test]
fn a_service_of_others_is_foreign_and_says_what_to_do() {
    let handed_over = |edit: fn(&mut Value)| why(state(&edited(edit), &apex(), "r"));
    let owned_by = |kind, name| {
        let mut service = typed(&lived_in());
        service.metadata.owner_references = Some(vec![owner(kind, name, "other")]);
        why(state(&service, &apex(), "r"))
    };
    let stories = [
        handed_over(|s| s["metadata"]["annotations"] = json!({})),
        handed_over(|s| s["metadata"]["annotations"]["penstock.dev/adopt"] = json!("yes")),
        owned_by("Gateway", "front"),
        owned_by("Rollout", "cart"),
        owned_by("Rollout", "checkout"),
        handed_over(|s| s["metadata"]["annotations"][ADOPTED_FROM] = json!("{")),
        handed_over(|s| {
            s["metadata"]["annotations"][ADOPTED_FROM] =
                json!(r#"{"rollout": "checkout", "selector": {}, "ports": [], "listen": 1}"#);
        }),
        {
            let mut service = typed(&lived_in());
            adopt(&mut service, &Apex { rollout: "cart".into(), ..apex() }).unwrap();
            assert!(adopt(&mut service, &apex()).is_err());
            why(state(&service, &apex(), "r"))
        },
    ];
    insta::assert_snapshot!(stories.join("\n"));
}

#[test]
fn a_service_that_routers_can_not_serve_wholly_is_refused() {
    let edits: [fn(&mut Value); 12] = [
        |s| s["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"),
        |s| s["spec"]["type"] = json!("ExternalName"),
        |s| s["spec"]["clusterIP"] = json!("None"),
        |s| s["spec"]["selector"] = json!({}),
        |s| s["spec"]["selector"] = json!({"penstock.dev/component": "router"}),
        |s| s["spec"]["ports"][0]["port"] = json!(8000),
        |s| s["spec"]["ports"][0]["protocol"] = json!("UDP"),
        |s| s["spec"]["ports"] = json!([]),
        |s| {
            let more = [
                json!({"name": "metrics", "port": 9090, "targetPort": "metrics"}),
                json!({"port": 80, "protocol": "UDP", "targetPort": 80}),
            ];
            s["spec"]["ports"].as_array_mut().unwrap().extend(more);
        },
        |s| s["spec"]["internalTrafficPolicy"] = json!("Local"),
        |s| s["spec"]["externalTrafficPolicy"] = json!("Local"),
        |s| s["spec"]["publishNotReadyAddresses"] = json!(true),
    ];
    let mut stories = Vec::new();
    for edit in edits {
        let before = edited(edit);
        let mut service = before.clone();
        let refusal = adopt(&mut service, &apex()).unwrap_err();
        assert_eq!(service, before, "what is refused is left as it was");
        assert_eq!(why(state(&service, &apex(), "r")), refusal.to_string());
        stories.push(refusal.to_string());
    }
    insta::assert_snapshot!(stories.join("\n"));
}

#[test]
fn only_selector_and_target_change_hands() {
    assert_eq!(state(&typed(&lived_in()), &apex(), "r"), Standing::Adoptable);
    let adopted = adopted();
    assert_eq!(state(&adopted, &apex(), "r"), Standing::Adopted);
    assert_eq!(taken_for(&adopted).as_deref(), Some("checkout"));
    assert_eq!(warning(&adopted, &apex()), None);
    insta::assert_yaml_snapshot!(adopted);
}

/// Its annotation has done its work: to take it away does not give the Service back in mid-flight.
#[test]
fn a_service_stays_ours_when_its_owner_takes_the_word_back() {
    let mut service = adopted();
    service.metadata.annotations.as_mut().unwrap().remove("penstock.dev/adopt");
    assert_eq!(state(&service, &apex(), "r"), Standing::Adopted);
    assert!(stands(&service, &apex()));
}

/// `kubectl apply` of the old manifest adds the old labels to the selector: together they select nothing.
#[test]
fn a_manifest_that_is_applied_again_is_put_right() {
    let mut service = adopted();
    let spec = service.spec.as_mut().unwrap();
    spec.selector.as_mut().unwrap().insert("app".into(), "checkout-v2".into());
    spec.ports.as_mut().unwrap()[0].target_port = serde_json::from_value(json!(9000)).unwrap();
    assert_eq!(state(&service, &apex(), "r"), Standing::Adopted);
    assert!(!stands(&service, &apex()));
    adopt(&mut service, &apex()).unwrap();
    assert!(stands(&service, &apex()));
    let now = service.spec.clone().unwrap();
    assert_eq!((now.selector, now.ports), (adopted().spec.unwrap().selector, adopted().spec.unwrap().ports));
    give_back(&mut service).unwrap();
    let spec = serde_json::to_value(service.spec).unwrap();
    assert_eq!(spec["selector"], json!({"app": "checkout-v2"}), "what was applied last is what comes back");
    assert_eq!(spec["ports"][0]["targetPort"], 9000);
}

#[test]
fn a_service_that_somebody_else_has_restored_is_given_back_as_it_is() {
    let mut service = adopted();
    service.spec = typed(&lived_in()).spec;
    give_back(&mut service).unwrap();
    assert_eq!(service, typed(&lived_in()));
}

#[test]
fn another_port_of_the_routers_is_taken_up_and_the_old_target_remembered() {
    let mut service = adopted();
    let moved = Apex { target_port: 20_002, ..apex() };
    assert!(!stands(&service, &moved));
    adopt(&mut service, &moved).unwrap();
    assert!(stands(&service, &moved));
    give_back(&mut service).unwrap();
    assert_eq!(service, typed(&lived_in()));
}

#[test]
fn a_port_that_is_added_later_is_told_about_and_kept() {
    let mut service = adopted();
    let more = serde_json::from_value(json!({"name": "metrics", "port": 9090, "targetPort": 9090})).unwrap();
    service.spec.as_mut().unwrap().ports.as_mut().unwrap().push(more);
    assert!(warning(&service, &apex()).unwrap().to_string().contains("metrics 9090/TCP -> 9090"));
    assert!(stands(&service, &apex()), "what is ours stays ours");
    give_back(&mut service).unwrap();
    let spec = serde_json::to_value(service.spec).unwrap();
    assert_eq!(
        (&spec["ports"][0]["targetPort"], &spec["ports"][1]["targetPort"]),
        (&json!("http"), &json!(9090))
    );
}

#[test]
fn a_service_whose_port_is_gone_is_told_about_and_not_touched() {
    let mut service = adopted();
    service.spec.as_mut().unwrap().ports.as_mut().unwrap()[0].port = 8000;
    let before = service.clone();
    let refusal = adopt(&mut service, &apex()).unwrap_err();
    assert!(refusal.to_string().contains("has no TCP port 80"), "{refusal}");
    assert_eq!(service, before);
}

#[test]
fn what_was_there_is_not_guessed_when_it_can_not_be_read() {
    let mut service = adopted();
    service.metadata.annotations.as_mut().unwrap().insert(ADOPTED_FROM.into(), "null".into());
    let before = service.clone();
    assert!(give_back(&mut service).unwrap_err().to_string().contains(&format!("{ADOPTED_FROM}-")));
    assert!(adopt(&mut service, &apex()).is_err());
    assert_eq!(service, before);
    assert_eq!(taken_for(&service), None);
}

#[test]
fn to_give_back_what_was_never_taken_changes_nothing() {
    for mut service in [typed(&lived_in()), service(&apex(), owner("Rollout", "checkout", "r"))] {
        let before = service.clone();
        give_back(&mut service).unwrap();
        assert_eq!(service, before);
    }
}

fn any_map() -> impl Strategy<Value = Value> {
    let name = prop_oneof![
        "[a-z]{1,3}",
        Just("penstock.dev/rollout".to_owned()),
        Just("penstock.dev/component".to_owned())
    ];
    let value = prop_oneof!["[a-z]{0,3}", Just("router".to_owned())];
    prop::collection::btree_map(name, value, 1..4).prop_map(|map| json!(map))
}

/// Any Service that its owner hands over.
fn any_service() -> impl Strategy<Value = Service> {
    let target = prop_oneof![Just(json!(null)), Just(json!("http")), (1..65536).prop_map(|port| json!(port))];
    let protocol = prop_oneof![Just(json!(null)), Just(json!("TCP"))];
    let kind = prop_oneof![Just("ClusterIP"), Just("NodePort"), Just("LoadBalancer")];
    (prop::option::of(any_map()), any_map(), any_map(), target, protocol, kind).prop_map(
        |(labels, annotations, selector, target, protocol, kind)| {
            edited(|s| {
                s["metadata"]["labels"] = json!(labels);
                s["metadata"]["annotations"] = annotations;
                s["metadata"]["annotations"]["penstock.dev/adopt"] = json!("true");
                s["spec"]["selector"] = selector;
                s["spec"]["type"] = json!(kind);
                s["spec"]["ports"][0]["targetPort"] = target;
                s["spec"]["ports"][0]["protocol"] = protocol;
            })
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("proptest-regressions/apex.txt"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_is_taken_and_given_back_is_as_it_was(before in any_service(), ports in prop::collection::vec(10_000..30_000_u16, 1..4)) {
        let routers = json!({"penstock.dev/component": "router"});
        prop_assume!(json!(before.spec.as_ref().unwrap().selector) != routers);
        prop_assume!(state(&before, &apex(), "r") == Standing::Adoptable);
        let mut service = before.clone();
        for target_port in ports {
            let apex = Apex { target_port, ..apex() };
            adopt(&mut service, &apex).unwrap();
            prop_assert!(stands(&service, &apex));
            prop_assert_eq!(json!(service.spec.as_ref().unwrap().selector), routers.clone());
            prop_assert_eq!(state(&service, &apex, "r"), Standing::Adopted);
        }
        give_back(&mut service).unwrap();
        prop_assert_eq!(service, before);
    }
}
