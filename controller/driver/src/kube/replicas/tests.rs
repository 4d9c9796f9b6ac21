//! ReplicaSets as API servers have them, and what is seen of them.

use penstock_crds::{Admitted, admit_value};
use serde_json::{Value, json};

use super::*;

const UID: &str = "uid-of-set";

fn admitted() -> Admitted {
    admit_value(&json!({
        "apiVersion": "penstock.dev/v1alpha1", "kind": "Rollout",
        "metadata": {"name": "checkout", "namespace": "shop"},
        "spec": {
            "selector": {
                "matchLabels": {"app": "checkout"},
                "matchExpressions": [{"key": "tier", "operator": "In", "values": ["web"]}],
            },
            "service": {"name": "checkout", "port": 80, "targetPort": 8080},
            "template": {
                "metadata": {"labels": {"app": "checkout", "tier": "web"}, "annotations": {"note": "ours"}},
                "spec": {"containers": [{"name": "web", "image": "shop/checkout:v1"}]},
            },
        },
    }))
    .unwrap()
}

fn wanted(facts: &Facts, replicas: u32, min_ready_seconds: u32) -> ReplicaSet {
    let owner = OwnerReference {
        api_version: "penstock.dev/v1alpha1".into(),
        kind: "Rollout".into(),
        name: "checkout".into(),
        uid: "uid-of-rollout".into(),
        controller: Some(true),
        block_owner_deletion: None,
    };
    let revision = Revision::new("5c6b7").unwrap();
    let generation = Generation(12);
    replica_set(&Wanted { facts, revision: &revision, replicas, generation, min_ready_seconds, owner })
}

fn set(replicas: u32, min_ready_seconds: u32) -> ReplicaSet {
    let mut set = wanted(&admitted().facts, replicas, min_ready_seconds);
    set.metadata.uid = Some(UID.into());
    set.metadata.creation_timestamp = Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());
    set
}

fn at(second: u64) -> Time {
    Time(1_767_225_600_000 + second * 1000)
}

/// A pod of the set with this status.
fn pod(name: &str, status: Value) -> Arc<Pod> {
    Arc::new(
        serde_json::from_value(json!({
            "metadata": {"name": name, "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "checkout-5c6b7", "uid": UID, "controller": true},
            ]},
            "spec": {
                "nodeName": "node-3",
                "initContainers": [{"name": "migrate", "image": "shop/migrate:v1"}, {"name": "proxy", "restartPolicy": "Always"}],
                "containers": [{"name": "web", "image": "shop/checkout:v1", "readinessProbe": {}}],
            },
            "status": status,
        }))
        .unwrap(),
    )
}

fn changed(pod: &Pod, edit: impl FnOnce(&mut Value)) -> Arc<Pod> {
    let mut value = serde_json::to_value(pod).unwrap();
    edit(&mut value);
    Arc::new(serde_json::from_value(value).unwrap())
}

fn ready(name: &str, since: &str) -> Arc<Pod> {
    let conditions = json!([{"type": "Ready", "status": "True", "lastTransitionTime": since}]);
    let web = json!([{"name": "web", "ready": true, "restartCount": 2, "image": "", "imageID": "", "state": {"running": {}}}]);
    pod(
        name,
        json!({"phase": "Running", "podIP": "10.0.0.7", "conditions": conditions, "containerStatuses": web}),
    )
}

/// A pod whose container is in this state.
fn stuck(name: &str, restarts: i32, state: Value, last: Value) -> Arc<Pod> {
    let web = json!({
        "name": "web", "ready": false, "restartCount": restarts, "image": "sha256:ab", "imageID": "",
        "state": state, "lastState": last,
    });
    pod(name, json!({"phase": "Pending", "containerStatuses": [web]}))
}

fn waiting(reason: &str, message: &str) -> Value {
    json!({"waiting": {"reason": reason, "message": message}})
}

fn trouble(set: &ReplicaSet, pods: &[Arc<Pod>]) -> String {
    pods_of(set, pods, at(100)).pods.trouble.unwrap_or_else(|| "all is well".into())
}

#[test]
fn a_revision_is_a_replica_set_that_takes_its_own_pods_only() {
    insta::assert_yaml_snapshot!(wanted(&admitted().facts, 3, 5));
}

#[test]
fn a_template_that_somebody_has_changed_is_noticed() {
    let mut set = set(1, 0);
    assert!(!template_changed(&set), "nobody has written a digest yet");
    let template = set.spec.as_ref().unwrap().template.clone().unwrap();
    let digest = template_digest(&template);
    assert_eq!(digest, template_digest(&template.clone()));
    set.metadata.annotations.as_mut().unwrap().insert(TEMPLATE_DIGEST.into(), digest);
    assert!(!template_changed(&set));
    set.spec.as_mut().unwrap().replicas = Some(7);
    assert!(!template_changed(&set), "the number of pods is no part of it");
    let template = set.spec.as_mut().unwrap().template.as_mut().unwrap();
    template.spec.as_mut().unwrap().containers[0].image = Some("shop/checkout:hacked".into());
    assert!(template_changed(&set));
}

#[test]
fn what_was_ordered_last_is_read_and_rubbish_is_as_nothing() {
    let mut set = set(3, 0);
    assert_eq!((generation(&set), revision(&set)), (Generation(12), Revision::new("5c6b7").ok()));
    for rubbish in ["", "-1", "12a", "99999999999999999999999"] {
        set.metadata.annotations.as_mut().unwrap().insert(object::GENERATION.into(), rubbish.into());
        assert_eq!(generation(&set), Generation(0), "{rubbish}");
    }
    set.metadata.labels = None;
    set.metadata.annotations = None;
    assert_eq!((generation(&set), revision(&set)), (Generation(0), None));
}

#[test]
fn pods_are_counted_as_they_are() {
    let since = "2026-01-01T00:00:10Z";
    let leaving = changed(&ready("c", since), |p| p["metadata"]["deletionTimestamp"] = json!(since));
    let evicted = changed(&ready("d", since), |p| p["status"]["phase"] = json!("Failed"));
    let strange =
        changed(&ready("e", since), |p| p["metadata"]["ownerReferences"][0]["uid"] = json!("other"));
    let lent =
        changed(&ready("f", since), |p| p["metadata"]["ownerReferences"][0]["controller"] = json!(false));
    let pods = [ready("a", since), ready("b", since), leaving, evicted, strange, lent];
    let seen = pods_of(&set(2, 0), &pods, at(100));
    let expected = Pods {
        scale: 2,
        generation: Generation(12),
        ready: 2,
        present: 3,
        restarts: 8,
        created: at(0),
        trouble: None,
    };
    assert_eq!(seen, Seen { pods: expected, ready_at: None });
}

/// A ReplicaSet without a uid has no pods: an empty uid must not make all orphans its own.
#[test]
fn nobody_owns_pods_without_an_owner() {
    let orphan = changed(&ready("a", "2026-01-01T00:00:00Z"), |p| {
        p["metadata"]["ownerReferences"][0]["uid"] = json!("")
    });
    let mut set = set(1, 0);
    set.metadata.uid = None;
    assert_eq!(pods_of(&set, &[orphan], at(100)).pods.ready, 0);
}

#[test]
fn pods_that_the_watch_has_not_told_of_yet_are_present() {
    let mut set = set(0, 0);
    set.status = Some(serde_json::from_value(json!({"replicas": 4})).unwrap());
    assert_eq!(pods_of(&set, &[], at(100)).pods.present, 4);
}

#[test]
fn a_pod_counts_when_it_has_been_ready_for_long_enough() {
    let pods = [
        ready("a", "2026-01-01T00:00:10Z"),
        ready("b", "2026-01-01T00:00:40Z"),
        ready("c", "2026-01-01T00:00:50Z"),
    ];
    let seen = |second| {
        let seen = pods_of(&set(3, 30), &pods, at(second));
        (seen.pods.ready, seen.ready_at)
    };
    assert_eq!(seen(39), (0, Some(at(40))));
    assert_eq!(seen(40), (1, Some(at(70))));
    assert_eq!(seen(70), (2, Some(at(80))));
    assert_eq!(seen(80), (3, None));
    let told = "c: it is ready, and counts from 2026-01-01T00:01:50Z on (minReadySeconds: 60)";
    assert_eq!(trouble(&set(3, 60), &pods), told);
}

#[test]
fn what_is_told_does_not_change_while_nothing_happens() {
    let running = json!({"running": {"startedAt": "2026-01-01T00:00:02Z"}});
    let pods = [stuck("a", 0, running, Value::Null), ready("b", "2026-01-01T00:00:10Z")];
    let told = |second| pods_of(&set(3, 30), &pods, at(second)).pods.trouble;
    assert_eq!(told(11), told(39));
}

#[test]
fn each_trouble_has_its_sentence() {
    let ended = |code: i32, reason: &str, message: &str| json!({"terminated": {"exitCode": code, "reason": reason, "message": message}});
    let loops = || waiting("CrashLoopBackOff", "back-off 40s restarting failed container");
    let since = "2026-01-01T00:00:02Z";
    let running = || json!({"running": {"startedAt": since}});
    let base = || stuck("a", 0, running(), Value::Null);
    let status = |edit: fn(&mut Value)| changed(&base(), |p| edit(&mut p["status"]));
    let pods = [
        stuck(
            "a",
            0,
            waiting(
                "ImagePullBackOff",
                "Back-off pulling image \"shop/checkout:v1\": ErrImagePull: not found",
            ),
            Value::Null,
        ),
        stuck(
            "a",
            0,
            waiting("ErrImagePull", "GET https://ada:s3cret@registry/v2/: 401\nagain"),
            Value::Null,
        ),
        stuck("a", 0, waiting("InvalidImageName", "couldn't parse image name"), Value::Null),
        stuck("a", 0, waiting("CreateContainerConfigError", "secret \"db\" not found"), Value::Null),
        stuck("a", 4, loops(), ended(1, "Error", "password: s3cret")),
        stuck("a", 1, loops(), ended(137, "OOMKilled", "")),
        stuck("a", 9, loops(), Value::Null),
        stuck("a", 2, ended(0, "Completed", ""), Value::Null),
        stuck(
            "a",
            3,
            loops(),
            ended(
                128,
                "StartError",
                "failed to create containerd task: OCI runtime create failed: runc create failed: unable to start container process: exec: \"chekout\": executable file not found in $PATH",
            ),
        ),
        stuck("a", 2, running(), ended(139, "Error", "")),
        base(),
        status(|s| {
            let since = "2026-01-01T00:01:00Z";
            s["conditions"] = json!([{"type": "Ready", "status": "False", "lastTransitionTime": since}]);
        }),
        changed(&base(), |p| p["spec"]["containers"][0]["readinessProbe"] = Value::Null),
        changed(&base(), |p| {
            p["spec"]["containers"][0]["startupProbe"] = json!({});
            p["status"]["containerStatuses"][0]["started"] = json!(false);
        }),
        stuck("a", 0, waiting("ContainerCreating", ""), Value::Null),
        stuck("a", 0, waiting("SomethingNew", "of a later\tversion"), Value::Null),
        status(|s| {
            s["initContainerStatuses"] = json!([
                {"name": "migrate", "ready": false, "restartCount": 3, "image": "", "imageID": "",
                 "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {"exitCode": 2, "reason": "Error"}}},
            ]);
            s["containerStatuses"][0]["state"] = json!({"waiting": {"reason": "PodInitializing"}});
        }),
        status(|s| {
            s["initContainerStatuses"] = json!([
                {"name": "migrate", "ready": false, "restartCount": 0, "image": "", "imageID": "",
                 "state": {"running": {"startedAt": "2026-01-01T00:00:05Z"}}},
            ]);
            s["containerStatuses"][0]["state"] = json!({"waiting": {"reason": "PodInitializing"}});
        }),
        status(|s| {
            s["initContainerStatuses"] = json!([
                {"name": "migrate", "ready": false, "restartCount": 0, "image": "", "imageID": "", "state": {"terminated": {"exitCode": 0}}},
                {"name": "proxy", "ready": false, "restartCount": 0, "image": "", "imageID": "", "state": {"running": {}}},
            ]);
            s["containerStatuses"] = json!([]);
        }),
        status(|s| {
            *s = json!({"phase": "Pending", "conditions": [{
                "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                "message": "0/3 nodes are available: 3 Insufficient memory.",
            }]});
        }),
        status(
            |s| *s = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]}),
        ),
        status(
            |s| *s = json!({"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory. "}),
        ),
        changed(&base(), |p| {
            p["spec"]["readinessGates"] = json!([{"conditionType": "lb.example/registered"}]);
            p["status"] = json!({"conditions": [{"type": "ContainersReady", "status": "True"}, {"type": "Ready", "status": "False"}]});
        }),
        status(|s| {
            *s = json!({"conditions": [
                {"type": "ContainersReady", "status": "True"},
                {"type": "Ready", "status": "False", "lastTransitionTime": "2026-01-01T00:00:30Z"},
            ]});
        }),
        status(|s| *s = Value::Null),
    ];
    let stories: Vec<String> = pods.into_iter().map(|pod| trouble(&set(1, 0), &[pod])).collect();
    let all = stories.join("\n");
    assert!(!all.contains("s3cret"), "{all}");
    assert!(stories.iter().all(|story| story != "all is well"), "{all}");
    insta::assert_snapshot!(all);
}

#[test]
fn the_most_telling_trouble_of_all_pods_is_told() {
    let config = stuck("z", 0, waiting("CreateContainerConfigError", "secret \"db\" not found"), Value::Null);
    let ended = json!({"terminated": {"exitCode": 1}});
    let crash = |name, restarts| stuck(name, restarts, waiting("CrashLoopBackOff", ""), ended.clone());
    let young = stuck("a", 0, waiting("ContainerCreating", ""), Value::Null);
    let leaving = changed(&config, |p| p["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"));
    let told = |pods: &[Arc<Pod>]| trouble(&set(3, 0), pods);
    assert!(told(&[young.clone(), crash("b", 2), crash("c", 5), config.clone()]).starts_with("z: "));
    assert!(told(&[young.clone(), crash("b", 2), crash("c", 5), leaving]).starts_with("c: "));
    assert!(told(&[crash("b", 2), young.clone(), crash("a", 2)]).starts_with("a: container web ended"));
    assert!(told(&[young]).starts_with("a: container web is being made: "));
    assert_eq!(told(&[]), "3 of 3 pods are not made yet");
    assert_eq!(told(&[ready("a", "2026-01-01T00:00:00Z")]), "2 of 3 pods are not made yet");
}

#[test]
fn a_replica_set_that_may_make_no_pods_says_why() {
    let mut set = set(2, 0);
    let message = "pods \"checkout-5c6b7-\" is forbidden: violates PodSecurity \"restricted:latest\": runAsNonRoot != true";
    let failure = |status| {
        json!({"replicas": 1, "conditions": [
            {"type": "ReplicaFailure", "status": status, "reason": "FailedCreate", "message": message},
        ]})
    };
    set.status = Some(serde_json::from_value(failure("True")).unwrap());
    let one = ready("a", "2026-01-01T00:00:00Z");
    assert_eq!(trouble(&set, std::slice::from_ref(&one)), format!("no pod can be made: {message}"));
    let two = [one.clone(), stuck("b", 0, waiting("ContainerCreating", ""), Value::Null)];
    assert!(trouble(&set, &two).starts_with("b: "), "all pods have been made since");
    set.status = Some(serde_json::from_value(failure("False")).unwrap());
    assert_eq!(trouble(&set, &[one]), "1 of 2 pods are not made yet");
}

#[test]
fn a_hostile_message_stays_short() {
    let message = "x\n".repeat(1_000_000);
    let told = trouble(&set(1, 0), &[stuck("a", 0, waiting(&message, &message), Value::Null)]);
    assert!(told.chars().count() < 700 && !told.contains('\n'), "{}", told.chars().count());
}

#[test]
fn pods_are_shown_one_by_one_the_unready_ones_first_where_there_are_many() {
    let mut pods: Vec<_> = (10..40).map(|n| ready(&format!("p{n}"), "2026-01-01T00:00:00Z")).collect();
    pods.push(stuck("z", 3, waiting("ImagePullBackOff", "not found"), Value::Null));
    let shown = statuses(&set(30, 0), &pods, 8080, at(100));
    assert_eq!(shown.len(), MOST_STATUSES);
    let first = PodStatus {
        name: "p10".into(),
        ready: true,
        restarts: 2,
        address: Some("10.0.0.7:8080".into()),
        trouble: None,
    };
    assert_eq!(shown[0], first);
    let last = shown.last().unwrap();
    assert_eq!((last.name.as_str(), last.restarts, last.address.as_ref()), ("z", 3, None));
    assert_eq!(
        last.trouble.as_deref(),
        Some("the image shop/checkout:v1 of container web can't be pulled (ImagePullBackOff): not found")
    );
}

#[test]
fn an_address_of_ip_version_6_has_brackets_and_a_leaving_pod_says_so() {
    let leaving = changed(&ready("a", "2026-01-01T00:00:00Z"), |p| {
        p["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:50Z");
        p["status"]["podIP"] = json!("fd00::7");
    });
    let shown = statuses(&set(1, 0), &[leaving], 8080, at(100));
    assert_eq!(shown[0].address.as_deref(), Some("[fd00::7]:8080"));
    assert_eq!((shown[0].ready, shown[0].trouble.as_deref()), (false, Some("it is on its way out")));
}
