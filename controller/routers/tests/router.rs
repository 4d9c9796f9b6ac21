//! What routers need on a cluster.

#![allow(clippy::unwrap_used)]

use k8s_openapi::api::core::v1::{PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use penstock_routers::live::says;
use penstock_routers::router::{self, Router};
use serde_json::{Value, json};

fn router() -> Router {
    Router {
        namespace: "shop".into(),
        image: "registry.example/penstock-proxy:1.2.3".into(),
        replicas: 2,
        resources: None,
        pull_policy: None,
        pull_secrets: Vec::new(),
    }
}

fn rollout(name: &str) -> OwnerReference {
    OwnerReference {
        api_version: "penstock.dev/v1alpha1".into(),
        kind: "Rollout".into(),
        name: name.into(),
        uid: format!("uid-of-{name}"),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

fn anchor() -> OwnerReference {
    let mut account = router().service_account(vec![router::owner(&rollout("checkout"))]);
    account.metadata.uid = Some("uid-of-account".into());
    router::anchor(&account).unwrap()
}

fn pod() -> PodSpec {
    router().deployment(&anchor()).spec.unwrap().template.spec.unwrap()
}

#[test]
fn all_rollouts_own_the_account_and_the_account_owns_the_rest() {
    let owners = ["cart", "checkout"].map(|name| router::owner(&rollout(name)));
    let account = router().service_account(owners.into());
    assert_eq!(router::anchor(&account), None, "an object that nobody has made yet owns nothing");
    insta::assert_yaml_snapshot!("account", account);
    let owned = json!([
        router().role(&anchor()).metadata,
        router().role_binding(&anchor()).metadata,
        router().deployment(&anchor()).metadata,
        router().disruption_budget(&anchor()).metadata,
    ]);
    for metadata in owned.as_array().unwrap() {
        assert_eq!(metadata["ownerReferences"][0]["uid"], "uid-of-account", "{metadata}");
        assert_eq!((&metadata["name"], &metadata["namespace"]), (&json!("penstock-router"), &json!("shop")));
    }
}

#[test]
fn a_router_reads_what_it_serves_and_nothing_else() {
    insta::assert_yaml_snapshot!("role", router().role(&anchor()));
    insta::assert_yaml_snapshot!("role_binding", router().role_binding(&anchor()));
}

#[test]
fn pods_are_replaced_one_after_the_other_and_evicted_so() {
    insta::assert_yaml_snapshot!("deployment", router().deployment(&anchor()));
    insta::assert_yaml_snapshot!("disruption_budget", router().disruption_budget(&anchor()));
}

/// Each control of the profile: <https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted>.
#[test]
fn the_pod_passes_the_restricted_profile() {
    let pod = serde_json::to_value(pod()).unwrap();
    for absent in ["hostNetwork", "hostPID", "hostIPC", "volumes", "initContainers", "ephemeralContainers"] {
        assert_eq!(pod[absent], Value::Null, "{absent}");
    }
    let (own, container) = (&pod["securityContext"], &pod["containers"][0]);
    assert_eq!((&own["runAsNonRoot"], &own["runAsUser"]), (&json!(true), &json!(65532)));
    assert_eq!(own["seccompProfile"]["type"], "RuntimeDefault");
    let context = &container["securityContext"];
    assert_eq!(context["allowPrivilegeEscalation"], false);
    assert_eq!(context["readOnlyRootFilesystem"], true);
    assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}));
    assert_eq!(context["privileged"], Value::Null);
    assert_eq!(
        container["ports"].as_array().unwrap().iter().find(|port| port["hostPort"] != Value::Null),
        None
    );
}

#[test]
fn a_router_has_the_time_to_drain_before_it_is_killed() {
    let pod = pod();
    let seconds = |name: &str| -> i64 {
        let args = pod.containers[0].args.as_ref().unwrap();
        let value = args.iter().find_map(|arg| arg.strip_prefix(&format!("--{name}="))).unwrap();
        value.strip_suffix('s').unwrap().parse().unwrap()
    };
    let grace = pod.termination_grace_period_seconds.unwrap();
    assert!(seconds("drain-delay") > 0);
    let drain = seconds("drain-wait") + seconds("drain-delay") + seconds("drain-timeout");
    assert!(grace > drain, "{grace} s");
}

#[test]
fn what_a_person_chooses_is_taken_as_it_is() {
    let own: ResourceRequirements = serde_json::from_value(json!({"limits": {"cpu": "2"}})).unwrap();
    let router = Router {
        replicas: 5,
        resources: Some(own.clone()),
        pull_policy: Some("Never".into()),
        pull_secrets: vec!["registry".into()],
        ..router()
    };
    let spec = router.deployment(&anchor()).spec.unwrap();
    let pod = spec.template.spec.unwrap();
    assert_eq!(spec.replicas, Some(5));
    assert_eq!(pod.containers[0].resources, Some(own));
    assert_eq!(pod.containers[0].image_pull_policy.as_deref(), Some("Never"));
    assert_eq!(pod.image_pull_secrets.unwrap()[0].name, "registry");
}

/// As an API server returns it: with defaults, and what others have added.
#[test]
fn a_router_takes_as_many_connections_as_fit_into_its_memory() {
    let most = |limit: &str| {
        let limits = Some([("memory".to_owned(), Quantity(limit.to_owned()))].into());
        let resources = Some(ResourceRequirements { limits, ..ResourceRequirements::default() });
        let deployment = Router { resources, ..router() }.deployment(&anchor());
        let pod = deployment.spec.unwrap().template.spec.unwrap();
        let args = pod.containers[0].args.clone().unwrap();
        let value = |name: &str| args.iter().find_map(|arg| arg.strip_prefix(name)).unwrap().to_owned();
        let (connections, requests) = (value("--max-connections="), value("--max-in-flight="));
        assert_eq!(connections, requests);
        connections.parse::<u64>().unwrap()
    };
    assert_eq!(most("512Mi"), 10_000, "as without a word");
    assert_eq!(most("4Gi"), 10_000);
    assert_eq!(most("0.25Gi"), most("256Mi"));
    assert_eq!(most("256Mi"), (192 << 20) / (30 << 10));
    assert_eq!(most("100M"), (100_000_000 - (64 << 20)) / (30 << 10));
    assert_eq!((most("64Mi"), most("1")), (100, 100), "it serves somebody");
    assert_eq!(
        (most("much"), most("-1"), most("infinityGi")),
        (10_000, 10_000, 10_000),
        "the API server says so"
    );
}

#[test]
fn what_stands_already_is_not_written_again() {
    let wanted = router().deployment(&anchor());
    let mut live = wanted.clone();
    live.metadata.annotations = Some([("deployment.kubernetes.io/revision".into(), "1".into())].into());
    live.metadata.owner_references.as_mut().unwrap().push(rollout("another"));
    let spec = live.spec.as_mut().unwrap();
    spec.progress_deadline_seconds = Some(600);
    let pod = spec.template.spec.as_mut().unwrap();
    pod.restart_policy = Some("Always".into());
    pod.containers[0].termination_message_path = Some("/dev/termination-log".into());
    pod.containers[0].readiness_probe.as_mut().unwrap().success_threshold = Some(1);
    assert!(says(&live, &wanted));
    let edits: [fn(&mut PodSpec); 4] = [
        |pod| pod.containers[0].image = Some("another".into()),
        |pod| pod.containers[0].args.as_mut().unwrap().push("--threads=1".into()),
        |pod| pod.containers[0].security_context = None,
        |pod| pod.topology_spread_constraints.as_mut().unwrap().truncate(1),
    ];
    for edit in edits {
        let mut edited = live.clone();
        edit(edited.spec.as_mut().unwrap().template.spec.as_mut().unwrap());
        assert!(!says(&edited, &wanted));
    }
}

#[test]
fn a_right_too_many_is_seen() {
    let wanted = router().role(&anchor());
    let mut live = wanted.clone();
    assert!(says(&live, &wanted));
    live.rules.as_mut().unwrap()[1].resources.as_mut().unwrap().push("secrets".into());
    assert!(!says(&live, &wanted));
    let mut live = wanted.clone();
    let rule = live.rules.as_ref().unwrap()[0].clone();
    live.rules.as_mut().unwrap().push(rule);
    assert!(!says(&live, &wanted));
}
