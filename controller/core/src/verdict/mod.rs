//! The judge: one sequential test for error rate and latency, a threshold for the user's own queries.

mod bets;
mod counters;
mod evidence;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::observation::Report;
use crate::revision::Revision;
use crate::sample::{Answer, Counts};
use crate::strategy::{Analysis, Check, Metric};
use crate::time::Time;

pub use bets::Bets;
pub use counters::{Added, Counters, INSTANCES};
pub use evidence::Evidence;

/// What one metric says of the canary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Verdict {
    /// Proven to be beyond its limit: the release is aborted.
    Bad,
    /// Nothing to go by, or not enough: the release holds.
    NoData,
    /// Above the limit without being proof: the release holds.
    Doubt,
    /// Enough was seen in this step, and it is within the limit.
    Good,
}

/// The verdict of one metric, with what it rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// Name of the metric.
    pub metric: String,
    /// What it says.
    pub verdict: Verdict,
    /// Why, as a sentence with numbers.
    pub why: String,
    /// When the numbers were true. `None`: there never were any.
    pub at: Option<Time>,
    /// Requests seen in this step, and how many of them were bad; for shares of requests.
    pub seen: Option<Counts>,
    /// The value; for the user's own queries.
    pub value: Option<f64>,
}

/// When a finding is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// The present.
    pub now: Time,
    /// Since when all proxies apply the present weight. `None`: not yet.
    pub weight_since: Option<Time>,
    /// Whether any request can reach the canary.
    pub traffic: bool,
    /// The proxies that serve the Rollout. `None`: not known.
    pub proxies: Option<&'a BTreeMap<String, Option<Report>>>,
}

/// What has been measured of one canary.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Judge {
    /// When the last answers came.
    asked: Option<Time>,
    metrics: BTreeMap<String, Evidence>,
}

impl Judge {
    /// When the next measurement is due.
    pub fn due(&self, analysis: &Analysis, now: Time) -> Time {
        self.asked.map_or(now, |asked| asked + analysis.interval)
    }

    /// Takes answers about the canary; those about other revisions or metrics are passed over.
    pub fn take(&mut self, analysis: &Analysis, canary: &Revision, answers: &[Answer], moment: Moment<'_>) {
        self.metrics.retain(|name, _| analysis.metrics.iter().any(|m| m.name == *name));
        for metric in &analysis.metrics {
            let mine = |a: &&Answer| a.metric == metric.name && a.revision == *canary;
            for answer in answers.iter().filter(mine) {
                self.metrics.entry(metric.name.clone()).or_default().fold(metric, answer, moment);
                self.asked = Some(moment.now);
            }
        }
    }

    /// Begins a step: the bets start anew. What the counters stood at stays known.
    pub fn begin_step(&mut self) {
        self.metrics.values_mut().for_each(Evidence::begin_step);
    }

    /// Whether the beginnings of all counters are known, so that what comes next can be counted. Errors: which
    /// metric has none, and why.
    pub fn has_beginnings(&self, analysis: &Analysis) -> Result<(), String> {
        let none = Evidence::default();
        for metric in &analysis.metrics {
            let evidence = self.metrics.get(&metric.name).unwrap_or(&none);
            if !evidence.has_beginning(metric) {
                let why = evidence.silence().unwrap_or("not every proxy has been measured yet");
                return Err(format!("{}: no data: {why}", metric.name));
            }
        }
        Ok(())
    }

    /// What each metric says, in the order of the spec.
    pub fn findings(&self, analysis: &Analysis, moment: Moment<'_>) -> Vec<Finding> {
        let none = Evidence::default();
        let judged = |metric: &Metric| {
            self.metrics.get(&metric.name).unwrap_or(&none).finding(metric, analysis, moment)
        };
        analysis.metrics.iter().map(judged).collect()
    }
}

/// How old numbers may be: three intervals, and at least a minute, for slow scrapes.
pub(crate) fn oldest(analysis: &Analysis) -> Duration {
    analysis.interval.saturating_mul(3).max(Duration::from_secs(60))
}

/// The level of one metric's test: the bound holds for all of them together.
pub(crate) fn level(analysis: &Analysis) -> f64 {
    let tests = analysis.metrics.iter().filter(|m| !matches!(m.check, Check::Value { .. })).count();
    analysis.alpha / tests.max(1) as f64
}
