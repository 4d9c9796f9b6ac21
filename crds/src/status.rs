//! The Rollout as it is answered. All of it can be made again from `machine` and a look at the world.

// The schema derive makes a private copy of each type.
#![allow(unreachable_pub)]

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime};
use k8s_openapi::jiff::Timestamp;
use kube::KubeSchema;
use penstock_core::decision::{Decision, What};
use penstock_core::time::Time;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Observed state of a Rollout.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStatus {
    /// The generation of the spec that this status answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The revision that is trusted with all traffic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stable_revision: Option<String>,
    /// The revision that is released.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary_revision: Option<String>,
    /// Where the Rollout stands, in one word.
    #[serde(default)]
    pub phase: Phase,
    /// Where it stands and what it waits for, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Index of the step that a release is at, beginning with 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<i32>,
    /// How many steps there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<i32>,
    /// Since when the step's clock runs: all proxies had acknowledged the split by then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_since: Option<MicroTime>,
    /// How the traffic is divided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<SplitStatus>,
    /// Pods of all revisions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Those that are ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i32>,
    /// Those of the revision that is wanted, ready or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_replicas: Option<i32>,
    /// The label selector of the pods as text, for the scale subresource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Texts for the columns of `kubectl get`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<Columns>,
    /// Ready, Reconciling, Stalled, Progressing, Paused, Aborted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// The last measurement of each metric.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub measurements: Vec<Measurement>,
    /// The last 20 decisions, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub decisions: Vec<DecisionRecord>,
    /// The revisions that exist.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revisions: Vec<RevisionStatus>,
    /// How it stands with those who are told of decisions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["receiver".into()]))]
    pub notifications: Vec<NotificationStatus>,
    /// While the spec is refused: the one before, which is worked on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "opaque")]
    pub worked_on: Option<Value>,
    /// The rollout machine's own memory. Not for reading, and never to be edited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "opaque")]
    pub machine: Option<Value>,
}

/// How it stands with one receiver of notifications.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NotificationStatus {
    /// Its name.
    pub receiver: String,
    /// The number of the decision up to which all is done: later ones are told, or told again, under the same id.
    #[serde(default)]
    pub done: i64,
    /// How many it has not been told of, since it could not be reached for too long.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lost: i64,
    /// Why the last one could not be delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// Most decisions that a status keeps.
pub const KEPT_DECISIONS: usize = 20;

fn opaque(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// Where a Rollout stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Nothing was decided yet.
    #[default]
    Pending,
    /// The first revision is on its way to all traffic.
    Deploying,
    /// All traffic goes to the revision of the template.
    Stable,
    /// A release goes on.
    Progressing,
    /// A release waits for pods, for proxies or for measurements.
    Held,
    /// A release waits for a person, for a gate or for the end of a freeze.
    Paused,
    /// A release was aborted; all traffic goes to the stable revision.
    Aborted,
    /// Something is in the way that a person has to take away; what runs goes on.
    Stalled,
    /// The spec is refused; what ran before goes on.
    Invalid,
    /// A word of a later version.
    #[serde(other)]
    Unknown,
}

impl Phase {
    /// The word in the status.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Pending => "Pending",
            Phase::Deploying => "Deploying",
            Phase::Stable => "Stable",
            Phase::Progressing => "Progressing",
            Phase::Held => "Held",
            Phase::Paused => "Paused",
            Phase::Aborted => "Aborted",
            Phase::Stalled => "Stalled",
            Phase::Invalid => "Invalid",
            Phase::Unknown => "Unknown",
        }
    }
}

/// Any word, so that a new one needs no new definition.
impl JsonSchema for Phase {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Phase".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string"})
    }
}

/// Texts for the columns of `kubectl get`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Columns {
    /// The step that a release is at, counted from 1, of how many: `2/8`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// The share of the traffic that a release has: `25%`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<String>,
    /// Pods that are ready, of how many: `5/6`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<String>,
}

/// How the traffic is divided.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SplitStatus {
    /// Share of the canary in percent.
    pub weight: i32,
    /// Number of the split.
    pub generation: i64,
    /// Whether all proxies have said that they apply it. One that does not answer later takes nothing back.
    pub acknowledged: bool,
    /// Share of each revision in percent.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub weights: BTreeMap<String, i32>,
}

/// The last measurement of a metric.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Measurement {
    /// The metric's name.
    pub metric: String,
    /// What it says of the canary.
    pub verdict: Verdict,
    /// What was measured, for people: `0.4 %`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// What is allowed, for people: `at most 1 %`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// Requests seen in this step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<i64>,
    /// How many of them were bad.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bad: Option<i64>,
    /// Why, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When the numbers were true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<MicroTime>,
}

/// What a measurement says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Verdict {
    /// The release may go on.
    Good,
    /// The release is worse.
    Bad,
    /// Nothing yet, too little, or no answer: the release holds.
    #[default]
    NoData,
}

/// A decision as it is kept for people.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DecisionRecord {
    /// When.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<MicroTime>,
    /// What: `Advanced`, `Held`, `Aborted` and so on.
    pub what: String,
    /// Why, with the numbers behind it.
    pub why: String,
    /// Who: a person's name, or `penstock`.
    pub who: String,
    /// The revision it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Share of the traffic that the revision has after it, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<i32>,
    /// The order that it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
}

impl From<&Decision> for DecisionRecord {
    fn from(decision: &Decision) -> DecisionRecord {
        DecisionRecord {
            time: stamp(decision.at),
            what: word(decision.what).to_owned(),
            why: decision.why.clone(),
            who: decision.who.clone(),
            revision: decision.revision.as_ref().map(ToString::to_string),
            weight: decision.weight.map(|w| i32::from(w.percent())),
            order: decision.order.clone(),
        }
    }
}

/// The word of a decision.
pub(crate) fn word(what: What) -> &'static str {
    match what {
        What::Deployed => "Deployed",
        What::Started => "Started",
        What::Advanced => "Advanced",
        What::Passed => "Passed",
        What::Held => "Held",
        What::Gated => "Gated",
        What::Frozen => "Frozen",
        What::Paused => "Paused",
        What::Resumed => "Resumed",
        What::Aborted => "Aborted",
        What::Superseded => "Superseded",
        What::Reverted => "Reverted",
        What::Completed => "Completed",
        What::Retried => "Retried",
        What::Undone => "Undone",
        What::Promoted => "Promoted",
        What::Refused => "Refused",
        What::Repaired => "Repaired",
        What::Drained => "Drained",
    }
}

/// A point in time as a status writes it; `None` outside the years that it can write.
pub fn stamp(time: Time) -> Option<MicroTime> {
    let millis = i64::try_from(time.0).ok()?;
    Timestamp::from_millisecond(millis).ok().map(MicroTime)
}

/// A point in time as the rollout machine counts it; times before 1970 are 1970.
pub fn time_of(stamp: &MicroTime) -> Time {
    Time(u64::try_from(stamp.0.as_millisecond()).unwrap_or(0))
}

/// A revision that exists.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevisionStatus {
    /// Its name.
    pub name: String,
    /// What it is.
    pub role: Role,
    /// How many pods are asked for.
    pub scale: i32,
    /// How many are ready.
    pub ready: i32,
    /// Restarts of its pods.
    #[serde(default)]
    pub restarts: i32,
    /// Its share of the traffic in percent.
    #[serde(default)]
    pub weight: i32,
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<MicroTime>,
    /// What its pods wait for or die of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// What it was sent lately, while a release is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<TrafficStatus>,
    /// Its pods, where they are known one by one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<PodStatus>,
}

/// What a revision was sent in the last seconds, as the proxies have counted it. For people: nothing is judged by it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrafficStatus {
    /// Requests a second.
    pub rate: f64,
    /// Share of them that failed by its fault, in percent; left out where there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors: Option<f64>,
    /// The latency that is judged, in milliseconds; left out where there were no requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<f64>,
    /// Which share of the requests is not slower than that, in percent: 99 for p99.
    pub quantile: f64,
    /// When it was counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<MicroTime>,
}

/// One pod of a revision.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodStatus {
    /// Its name.
    pub name: String,
    /// Whether it is ready.
    pub ready: bool,
    /// Its restarts.
    #[serde(default)]
    pub restarts: i32,
    /// Where it listens: `10.0.0.7:8080`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// What it waits for or died of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// What a revision is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Trusted with all traffic.
    Stable,
    /// On its way.
    Canary,
    /// Kept for `undo`, or on its way out.
    #[default]
    Old,
}
