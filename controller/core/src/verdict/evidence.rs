//! What is known by one metric.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Added, Bets, Counters, Finding, INSTANCES, Moment, Verdict, level, oldest};
use crate::observation::Report;
use crate::sample::{Answer, Counts, NoData, Reading, Sample};
use crate::state::spoken;
use crate::strategy::{Analysis, Check, Metric};
use crate::time::Time;

/// What is known by one metric of one canary.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Evidence {
    /// What was asked; when the spec asks something else, all else here is void.
    check: Option<Check>,
    /// Whether an answer has covered every proxy once, so that the counters' beginnings are known.
    begun: bool,
    /// When the newest numbers were true.
    at: Option<Time>,
    /// Why the last question had no answer.
    silent: Option<NoData>,
    /// Whether the last answer covered every proxy.
    whole: bool,
    /// Why it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    half: Option<String>,
    /// The histogram's edge that stood in for the limit.
    edge: Option<Duration>,
    counters: Counters,
    bets: Bets,
    /// Requests that were bet on.
    bet: Counts,
    /// Requests whose beginning and end both lie in this step.
    seen: Counts,
    value: Option<f64>,
    bad_in_row: u32,
}

impl Evidence {
    /// Takes an answer. One that is no newer than the last is passed over: it is the same numbers again, or late.
    pub(super) fn fold(&mut self, metric: &Metric, answer: &Answer, moment: Moment<'_>) {
        if self.check.as_ref() != Some(&metric.check) {
            *self = Evidence { check: Some(metric.check.clone()), ..Evidence::default() };
        }
        match &answer.result {
            Err(why) => self.silent = Some(why.clone()),
            Ok(sample) if sample.at > moment.now + Duration::from_secs(60) => {
                self.silent = Some(NoData("the numbers are from the future: check the clocks".into()));
            }
            Ok(sample) => {
                self.silent = None;
                if self.at.is_none_or(|at| sample.at > at) {
                    self.measure(metric, sample, moment);
                }
            }
        }
    }

    fn measure(&mut self, metric: &Metric, sample: &Sample, moment: Moment<'_>) {
        match (&metric.check, &sample.value) {
            (
                Check::ErrorRate { max } | Check::Latency { max, .. },
                Reading::Counts { instances, edge, missing },
            ) => {
                if instances.len() > INSTANCES {
                    let n = instances.len();
                    self.silent =
                        Some(NoData(format!("{n} proxy instances answered: at most {INSTANCES} are judged")));
                    return;
                }
                self.half = half(instances, missing, moment.proxies);
                self.whole = self.half.is_none();
                let comparable = self.begun && self.edge == *edge;
                self.edge = *edge;
                let new = self.counters.advance(instances, sample.at, moment.weight_since);
                if comparable {
                    self.count(*max, new);
                }
                self.begun |= self.whole;
            }
            // What a query says of a revision without traffic is no measurement of it.
            (Check::Value { .. }, Reading::Value(_)) if !moment.traffic => return,
            (Check::Value { min, max, .. }, Reading::Value(value)) => {
                self.whole = true;
                self.value = Some(*value);
                let bad = beyond(*value, *min, *max);
                self.bad_in_row = if bad { self.bad_in_row.saturating_add(1) } else { 0 };
            }
            (Check::Value { .. }, Reading::Counts { .. }) | (_, Reading::Value(_)) => {
                self.silent = Some(NoData("the source answered another question than was asked".into()));
                return;
            }
        }
        self.at = Some(sample.at);
    }

    /// The bets take every request since the last look; the step's own tally only those surely within it.
    fn count(&mut self, max: f64, new: Added) {
        self.bets.fold(max, new.all);
        self.bet = self.bet.plus(new.all);
        self.seen = self.seen.plus(new.after);
    }

    pub(super) fn begin_step(&mut self) {
        self.bets = Bets::default();
        self.bet = Counts::default();
        self.seen = Counts::default();
        self.value = None;
        self.bad_in_row = 0;
    }

    /// The user's own value needs no beginning, and may well have none before the first request.
    pub(super) fn has_beginning(&self, metric: &Metric) -> bool {
        self.begun || matches!(metric.check, Check::Value { .. })
    }

    /// Why there is no answer, or half of one.
    pub(super) fn silence(&self) -> Option<&str> {
        self.silent.as_ref().map(|none| none.0.as_str()).or(self.half.as_deref())
    }

    pub(super) fn finding(&self, metric: &Metric, analysis: &Analysis, moment: Moment<'_>) -> Finding {
        let (verdict, why) = self.judge(metric, analysis, moment);
        let counted = !matches!(metric.check, Check::Value { .. });
        Finding {
            metric: metric.name.clone(),
            verdict,
            why,
            at: self.at,
            seen: counted.then_some(self.seen),
            value: self.value,
        }
    }

    /// The rules of judgement, first match: proof, silence, age, half an answer, then the numbers themselves.
    fn judge(&self, metric: &Metric, analysis: &Analysis, moment: Moment<'_>) -> (Verdict, String) {
        if self.is_bad(metric, analysis) {
            return (Verdict::Bad, self.numbers(metric, self.bet));
        }
        if let Some(why) = &self.silent {
            return (Verdict::NoData, format!("no data: {why}"));
        }
        let Some(at) = self.at else {
            return (Verdict::NoData, "no data: not measured yet".into());
        };
        let age = moment.now.since(at);
        if age > oldest(analysis) {
            return (Verdict::NoData, format!("no data: the newest numbers are {} old", spoken(age)));
        }
        if !self.whole {
            let why = self.half.as_deref().unwrap_or(NOT_ALL);
            return (Verdict::NoData, format!("no data: {why}"));
        }
        if moment.weight_since.is_none_or(|since| at <= since) {
            return (Verdict::NoData, "no data: nothing was measured in this step yet".into());
        }
        self.weigh(metric, analysis)
    }

    fn is_bad(&self, metric: &Metric, analysis: &Analysis) -> bool {
        match metric.check {
            Check::ErrorRate { .. } | Check::Latency { .. } => self.bets.refute(level(analysis)),
            Check::Value { .. } => self.bad_in_row > analysis.failure_limit,
        }
    }

    fn weigh(&self, metric: &Metric, analysis: &Analysis) -> (Verdict, String) {
        match metric.check {
            Check::ErrorRate { max } | Check::Latency { max, .. } => {
                if self.seen.total < analysis.min_requests.max(1) {
                    let (seen, least) = (self.seen.total, analysis.min_requests);
                    return (
                        Verdict::NoData,
                        format!("no data: {seen} of at least {least} requests in this step"),
                    );
                }
                let within = self.seen.bad as f64 <= max * self.seen.total as f64;
                (if within { Verdict::Good } else { Verdict::Doubt }, self.numbers(metric, self.seen))
            }
            Check::Value { .. } => match self.value {
                None => (Verdict::NoData, "no data: nothing was measured in this step yet".into()),
                Some(_) if self.bad_in_row > 0 => (Verdict::Doubt, self.numbers(metric, self.seen)),
                Some(_) => (Verdict::Good, self.numbers(metric, self.seen)),
            },
        }
    }

    fn numbers(&self, metric: &Metric, counts: Counts) -> String {
        let Counts { total, bad } = counts;
        match &metric.check {
            Check::ErrorRate { max } => {
                format!("{bad} of {total} requests failed ({}), limit {}", share(counts), percent(*max))
            }
            Check::Latency { limit, max } => {
                let edge = self.edge.map(|e| format!(" (counted at {})", spoken(e))).unwrap_or_default();
                let limit = spoken(*limit);
                format!(
                    "{bad} of {total} requests took longer than {limit}{edge} ({}), limit {}",
                    share(counts),
                    percent(*max)
                )
            }
            Check::Value { min, max, .. } => {
                let value = self.value.map_or("none".into(), |v| v.to_string());
                let times = if self.bad_in_row > 1 {
                    format!(", {} times in a row", self.bad_in_row)
                } else {
                    String::new()
                };
                format!("the value is {value}{times}, allowed {}", range(*min, *max))
            }
        }
    }
}

const NOT_ALL: &str = "not every proxy is in the answer";

/// Why an answer is half of one, if it is. A proxy that is gone for good need not be in it.
fn half(
    instances: &BTreeMap<String, Counts>,
    missing: &BTreeMap<String, NoData>,
    proxies: Option<&BTreeMap<String, Option<Report>>>,
) -> Option<String> {
    let Some(proxies) = proxies.filter(|proxies| !proxies.is_empty()) else {
        return Some("it is not known which proxies there are".into());
    };
    let serves = |name: &String| proxies.contains_key(name);
    // A source may have other names for them: then only their number can be compared.
    let named_alike = instances.keys().any(serves);
    let mut lacking = missing.iter().filter(|(name, _)| !named_alike || serves(name));
    if let Some((_, why)) = lacking.next() {
        let others = lacking.count();
        let more = if others > 0 { format!(" (and {others} more)") } else { String::new() };
        return Some(format!("{why}{more}"));
    }
    let answered = instances.keys().filter(|name| !named_alike || serves(name)).count();
    (answered < proxies.len()).then(|| NOT_ALL.into())
}

fn beyond(value: f64, min: Option<f64>, max: Option<f64>) -> bool {
    !value.is_finite() || max.is_some_and(|m| value > m) || min.is_some_and(|m| value < m)
}

fn share(counts: Counts) -> String {
    percent(counts.bad as f64 / counts.total.max(1) as f64)
}

/// A share as a person reads it: `0.25 %`.
fn percent(share: f64) -> String {
    let hundredths = (share * 10_000.0).round() / 100.0;
    format!("{hundredths} %")
}

fn range(min: Option<f64>, max: Option<f64>) -> String {
    match (min, max) {
        (Some(min), Some(max)) => format!("{min} to {max}"),
        (Some(min), None) => format!("at least {min}"),
        (None, Some(max)) => format!("at most {max}"),
        (None, None) => "anything".into(),
    }
}
