//! What a person wants: the spec of a Rollout after its refusals and defaults.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::revision::Revision;
use crate::split::Weight;

/// How one Rollout is to be released.
#[derive(Clone, Debug, PartialEq)]
pub struct Strategy {
    /// The revision of the present pod template.
    pub revision: Revision,
    /// Pods of the stable revision: 0 and more.
    pub replicas: u32,
    /// The way of a release. Weights never fall along it; a last step to 100 % is implied.
    pub steps: Vec<Step>,
    /// Freezes a release where it is; traffic goes on as divided, a bad verdict still aborts.
    pub paused: bool,
    /// Whether marked requests are sent to the canary throughout a release.
    pub marks_canary: bool,
    /// How a canary is judged.
    pub analysis: Analysis,
    /// A release that waits longer than this for pods or for acknowledgement is aborted.
    pub progress_deadline: Duration,
    /// Pods that may exist beyond `replicas` at the same time; stable lends its own where they do not suffice. `None`: as
    /// many as it takes.
    pub max_surge: Option<u32>,
    /// Pods that stable may lend beyond those that its share of the traffic does not need. Without `max_surge` nothing
    /// is lent.
    pub max_unavailable: u32,
    /// How many old revisions are kept for `undo`, beside stable and canary.
    pub history_limit: usize,
}

/// One step of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Moves the canary to this share of the traffic.
    SetWeight(Weight),
    /// Stays, judged all the while. `None`: until a person promotes.
    Pause(Option<Duration>),
    /// From here on the canary has so many pods, whatever its weight. The step is over when they are ready.
    SetCanaryScale(CanaryScale),
    /// Stays until the gate says go, judged all the while. Which gate it is, whoever asks knows by the step's index.
    Gate(Gate),
}

/// How a gate is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    /// Time from one question to the next: above 0.
    pub interval: Duration,
    /// A release that is told to wait for longer than this is aborted. `None`: it waits for as long as it takes.
    pub timeout: Option<Duration>,
}

/// How many pods a canary has before it has all traffic; with all traffic it has all pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CanaryScale {
    /// So many: 1 and more.
    Pods(u32),
    /// So many as would carry this share of the traffic.
    Weight(Weight),
    /// As many as its weight needs, as without any such step.
    MatchTraffic,
}

impl CanaryScale {
    /// Pods for this weight, of `replicas` in all: at least one of any.
    pub fn pods(self, weight: Weight, replicas: u32) -> u32 {
        let by_weight = |weight: Weight| weight.of(replicas).max(1).min(replicas);
        match self {
            CanaryScale::Pods(_) if replicas == 0 => 0,
            _ if weight == Weight::ALL => replicas,
            CanaryScale::Pods(pods) => pods.max(1),
            CanaryScale::Weight(share) => by_weight(share),
            CanaryScale::MatchTraffic => by_weight(weight),
        }
    }
}

impl fmt::Display for CanaryScale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CanaryScale::Pods(1) => f.write_str("1 pod"),
            CanaryScale::Pods(pods) => write!(f, "{pods} pods"),
            CanaryScale::Weight(share) => write!(f, "{share} of the pods"),
            CanaryScale::MatchTraffic => f.write_str("pods as the weight needs"),
        }
    }
}

/// How a canary is judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Analysis {
    /// Time from one measurement to the next.
    pub interval: Duration,
    /// Requests that a step must have seen before it is passed. A breach needs no minimum.
    pub min_requests: u64,
    /// The chance at most that a healthy step is aborted: in (0, 1), for instance 0.001.
    pub alpha: f64,
    /// Bad measurements in a row that are tolerated; for metrics of the kind [`Check::Value`] only.
    pub failure_limit: u32,
    /// What is measured. Without any, a release goes by its steps alone.
    pub metrics: Vec<Metric>,
}

/// One thing that is measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// Its name, unique within the Rollout.
    pub name: String,
    /// What is asked and what is allowed.
    pub check: Check,
}

/// What is asked of a metric, and what is allowed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Check {
    /// The share of failed requests is at most `max`: in [0, 1).
    ErrorRate {
        /// Largest share allowed.
        max: f64,
    },
    /// The share of requests slower than `limit` is at most `max`: `p99 ≤ 500 ms` is `max` 0.01, `limit` 500 ms.
    Latency {
        /// Time to the response's head.
        limit: Duration,
        /// Largest share allowed: 1 − quantile, in (0, 1).
        max: f64,
    },
    /// The value of a query of the user's own stays within a range.
    Value {
        /// PromQL; `{{revision}}`, `{{stable}}`, `{{rollout}}` and `{{namespace}}` are filled in.
        query: String,
        /// Smallest value allowed.
        min: Option<f64>,
        /// Largest value allowed.
        max: Option<f64>,
    },
}
