use penstock_core::time::Time;
use penstock_crds::Rollout;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{table, tree};
use crate::cli::paint::Paint;
use crate::cli::place::Saved;

/// 2026-11-21 07:31:15 UTC.
const NOW: Time = Time(1_795_246_275_000);

fn at(seconds_ago: u64) -> Value {
    let time = penstock_crds::stamp(Time(NOW.0 - seconds_ago * 1000)).unwrap();
    serde_json::to_value(time).unwrap()
}

fn rollout(name: &str, status: Value) -> Rollout {
    let template = json!({"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "web"}]}});
    let steps = json!([{"setWeight": 10}, {"pause": {"duration": "90s"}}, {"setWeight": 50}, {"pause": {}}]);
    let object = json!({
        "apiVersion": "penstock.dev/v1alpha1",
        "kind": "Rollout",
        "metadata": {"name": name, "namespace": "shop", "generation": 7},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": template,
            "service": {"name": name, "port": 80},
            "strategy": {"canary": {"steps": steps}},
        },
        "status": status,
    });
    Rollout::deserialize(&object).unwrap()
}

fn releasing() -> Rollout {
    rollout(
        "checkout",
        json!({
            "observedGeneration": 7,
            "stableRevision": "5c6b7d9f01",
            "canaryRevision": "7d9f8a0b22",
            "phase": "Progressing",
            "message": "revision 7d9f8a0b22 has 10 % at step 1 of 4; 32s at this step",
            "step": 1, "steps": 4, "stepSince": at(32),
            "split": {"weight": 10, "generation": 7, "acknowledged": true},
            "replicas": 5, "readyReplicas": 4,
            "conditions": [
                {"type": "Ready", "status": "False", "reason": "Progressing", "message": "", "lastTransitionTime": "2026-11-21T07:29:15Z"},
                {"type": "Reconciling", "status": "True", "reason": "Progressing", "message": "", "lastTransitionTime": "2026-11-21T07:29:15Z"},
            ],
            "measurements": [
                {"metric": "errors", "verdict": "Good", "value": "0.4 %", "limit": "at most 1 % failed", "total": 750, "bad": 3, "message": "3 of 750 requests failed", "time": at(2)},
                {"metric": "slow", "verdict": "NoData", "limit": "at most 1 % slower than 500ms", "message": "Prometheus does not answer: connection refused"},
            ],
            "decisions": [
                {"time": at(125), "what": "Started", "why": "4 steps against stable revision 5c6b7d9f01", "who": "penstock", "revision": "7d9f8a0b22", "weight": 0},
                {"time": at(40), "what": "Advanced", "why": "2 of 2 pods are ready", "who": "penstock", "revision": "7d9f8a0b22", "weight": 10},
            ],
            "revisions": [
                {"name": "5c6b7d9f01", "role": "stable", "scale": 3, "ready": 3, "weight": 90, "created": at(100_000),
                    "traffic": {"rate": 269.8, "errors": 0.0, "latency": 23.5, "quantile": 99.0, "time": at(1)}, "pods": [
                    {"name": "checkout-5c6b7d9f01-1", "ready": true, "address": "127.0.0.1:9001"},
                    {"name": "checkout-5c6b7d9f01-2", "ready": true, "restarts": 1, "address": "127.0.0.1:9002"},
                ]},
                {"name": "7d9f8a0b22", "role": "canary", "scale": 2, "ready": 1, "weight": 10, "restarts": 4, "created": at(125),
                    "traffic": {"rate": 30.0, "errors": 0.4, "quantile": 99.0, "time": at(1)}, "trouble": "1 pod is not ready: \u{1b}[31mexit code 1\nafter 2s", "pods": [
                    {"name": "checkout-7d9f8a0b22-1", "ready": false, "restarts": 4, "trouble": "exit code 1"},
                ]},
                {"name": "aaaaaaaa00", "role": "old", "scale": 0, "ready": 0, "weight": 0},
            ],
        }),
    )
}

fn aborted() -> Rollout {
    rollout(
        "cart",
        json!({
            "phase": "Aborted", "observedGeneration": 6, "stableRevision": "5c6b7d9f01",
            "message": "revision 7d9f8a0b22 was aborted (errors: 20 of 98 requests failed); 5c6b7d9f01 has all traffic",
            "split": {"weight": 0, "generation": 9, "acknowledged": false},
            "replicas": 3, "readyReplicas": 3,
            "decisions": [{"time": at(7300), "what": "Aborted", "why": "errors: 20 of 98 requests failed", "who": "penstock", "revision": "7d9f8a0b22", "weight": 0}],
            "revisions": [{"name": "5c6b7d9f01", "role": "stable", "scale": 3, "ready": 3, "weight": 100}],
        }),
    )
}

fn saved(rollout: Rollout) -> Saved {
    Saved { object: Value::Null, rollout }
}

#[test]
fn a_release_is_a_tree() {
    insta::assert_snapshot!(tree(&releasing(), NOW, Paint::default(), false));
}

#[test]
fn wide_shows_addresses_conditions_and_kept_revisions() {
    insta::assert_snapshot!(tree(&releasing(), NOW, Paint::default(), true));
}

#[test]
fn an_aborted_release_says_why() {
    insta::assert_snapshot!(tree(&aborted(), NOW, Paint::default(), false));
}

#[test]
fn what_was_never_worked_on_has_a_tree_too() {
    let mut fresh = rollout("fresh", json!(null));
    fresh.status = None;
    insta::assert_snapshot!(tree(&fresh, NOW, Paint::default(), false));
}

#[test]
fn several_rollouts_are_a_table() {
    let all = [
        saved(aborted()),
        saved(releasing()),
        saved(rollout("Progressing", json!({"phase": "Progressing"}))),
    ];
    let plain = table(&all, NOW, Paint::default(), false);
    let wide = table(&all, NOW, Paint::default(), true);
    insta::assert_snapshot!(format!("{plain}\n{wide}\n{}", table(&[], NOW, Paint::default(), true)));
}

#[test]
fn colours_change_nothing_but_the_colour() {
    let without = |text: String| {
        let mut parts = text.split('\x1b');
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |plain, part| plain + part.split_once('m').map_or("", |(_, rest)| rest))
    };
    for rollout in [releasing(), aborted()] {
        let colored = tree(&rollout, NOW, Paint::always(), true);
        assert!(colored.contains("\x1b[3"));
        assert_eq!(without(colored), tree(&rollout, NOW, Paint::default(), true));
        let all = [saved(rollout)];
        assert_eq!(
            without(table(&all, NOW, Paint::always(), true)),
            table(&all, NOW, Paint::default(), true)
        );
    }
}
