//! How a canary is judged.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use penstock_core::strategy::{Analysis, Check, Metric};

use super::{did_you_mean, source, within};
use crate::facts::Source;
use crate::refusal::Refusals;
use crate::rollout::{AnalysisSpec, ErrorRateSpec, LatencySpec, MetricSpec, QuerySpec};
use crate::text::{DurationText, NumberText, PercentText, rounded};

const PATH: &str = "spec.analysis";
const DEFAULT_INTERVAL: &str = "10s";
const DEFAULT_MIN_REQUESTS: i64 = 50;
const DEFAULT_CONFIDENCE: &str = "99.9%";
const DEFAULT_ERROR_RATE: f64 = 0.01;
const INTERVALS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);
const LONGEST_LIMIT: Duration = Duration::from_secs(3600);
const MOST_METRICS: usize = 32;
const LONGEST_QUERY: usize = 8192;

pub(super) fn admit(spec: Option<&AnalysisSpec>, refusals: &mut Refusals) -> Option<(Source, Analysis)> {
    let none = AnalysisSpec::default();
    let spec = spec.unwrap_or(&none);
    let source = source::admit(spec.source.as_ref(), refusals);
    let interval = admit_interval(spec.interval.as_ref(), refusals);
    let min_requests = spec.min_requests.unwrap_or(DEFAULT_MIN_REQUESTS);
    let min_requests = within("spec.analysis.minRequests", min_requests, 1..=i32::MAX.into(), refusals);
    let alpha = admit_confidence(spec.confidence.as_ref(), refusals);
    let failure_limit =
        within("spec.analysis.failureLimit", spec.failure_limit.unwrap_or(0), 0..=1000, refusals);
    let metrics = match spec.metrics.as_ref() {
        Some(metrics) => admit_metrics(metrics, refusals),
        None => Some(vec![default_metric()]),
    };
    let analysis = Analysis {
        interval: interval?,
        min_requests: min_requests?,
        alpha: alpha?,
        failure_limit: failure_limit?,
        metrics: metrics?,
    };
    Some((source?, analysis))
}

fn default_metric() -> Metric {
    Metric { name: "errors".to_owned(), check: Check::ErrorRate { max: DEFAULT_ERROR_RATE } }
}

fn admit_interval(text: Option<&DurationText>, refusals: &mut Refusals) -> Option<Duration> {
    let path = format!("{PATH}.interval");
    let default = DurationText::from(DEFAULT_INTERVAL);
    let interval = refusals.take(&path, text.unwrap_or(&default).parse())?;
    if !INTERVALS.contains(&interval) {
        refusals.add(path, "outside 100ms to 1h", "write a duration between them, for instance 10s");
        return None;
    }
    Some(interval)
}

/// From the confidence that an abort is right to the chance that it is wrong.
fn admit_confidence(text: Option<&PercentText>, refusals: &mut Refusals) -> Option<f64> {
    let path = format!("{PATH}.confidence");
    let default = PercentText::from(DEFAULT_CONFIDENCE);
    let text = text.unwrap_or(&default);
    let alpha = rounded(1.0 - refusals.take(&path, text.parse())?);
    if !(1e-9..=0.5).contains(&alpha) {
        let remedy = "write at least 50% and less than 100%, for instance \"99.9%\"";
        refusals.add(path, format!("the confidence {} is out of range", text.0), remedy);
        return None;
    }
    Some(alpha)
}

fn admit_metrics(metrics: &[MetricSpec], refusals: &mut Refusals) -> Option<Vec<Metric>> {
    let path = format!("{PATH}.metrics");
    if metrics.len() > MOST_METRICS {
        refusals.add(path, format!("{} metrics", metrics.len()), format!("write at most {MOST_METRICS}"));
        return None;
    }
    let mut names = BTreeSet::new();
    let admitted: Vec<_> = metrics
        .iter()
        .enumerate()
        .map(|(n, metric)| {
            let path = format!("{path}[{n}]");
            let name = admit_name(&format!("{path}.name"), metric.name.as_deref(), refusals);
            let check = admit_check(&path, metric, refusals);
            let name = name.filter(|name| is_new(&path, name, &mut names, refusals));
            Some(Metric { name: name?, check: check? })
        })
        .collect();
    admitted.into_iter().collect()
}

fn is_new(path: &str, name: &str, names: &mut BTreeSet<String>, refusals: &mut Refusals) -> bool {
    let new = names.insert(name.to_owned());
    if !new {
        refusals.add(
            format!("{path}.name"),
            format!("a second metric `{name}`"),
            "give it a name of its own",
        );
    }
    new
}

fn admit_name(path: &str, name: Option<&str>, refusals: &mut Refusals) -> Option<String> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let fits = |name: &&str| (1..=63).contains(&name.len()) && name.bytes().all(allowed);
    if let Some(name) = name.filter(fits) {
        return Some(name.to_owned());
    }
    let problem = name.map_or("missing".to_owned(), |name| format!("`{name}` is no name of a metric"));
    refusals.add(path, problem, "write 1 to 63 letters, digits, - and _, for instance errors");
    None
}

fn admit_check(path: &str, metric: &MetricSpec, refusals: &mut Refusals) -> Option<Check> {
    match (metric.error_rate.as_ref(), metric.latency.as_ref(), metric.prometheus.as_ref()) {
        (Some(rate), None, None) => error_rate(&format!("{path}.errorRate"), rate, refusals),
        (None, Some(latency), None) => latency_check(&format!("{path}.latency"), latency, refusals),
        (None, None, Some(query)) => value(&format!("{path}.prometheus"), query, refusals),
        (None, None, None) => {
            let remedy = "write one of `errorRate: {max: \"1%\"}`, `latency: {quantile: \"0.99\", max: 500ms}` and `prometheus: {query: …, max: \"5\"}`";
            refusals.add(path, "a metric without a kind", remedy);
            None
        }
        _ => {
            refusals.add(path, "a metric of several kinds", "write each as a metric of its own");
            None
        }
    }
}

fn error_rate(path: &str, spec: &ErrorRateSpec, refusals: &mut Refusals) -> Option<Check> {
    let path = format!("{path}.max");
    let Some(text) = spec.max.as_ref() else {
        refusals.add(path, "missing", "write the largest share of errors allowed, for instance \"1%\"");
        return None;
    };
    let max = refusals.take(&path, text.parse())?;
    if max >= 1.0 {
        refusals.add(
            path,
            format!("{} allows every request to fail", text.0),
            "write less than 100%, for instance \"1%\"",
        );
        return None;
    }
    Some(Check::ErrorRate { max })
}

fn latency_check(path: &str, spec: &LatencySpec, refusals: &mut Refusals) -> Option<Check> {
    let (quantile_path, max_path) = (format!("{path}.quantile"), format!("{path}.max"));
    let quantile = match spec.quantile.as_ref() {
        Some(text) => refusals.take(&quantile_path, text.parse()),
        None => {
            refusals.add(quantile_path, "missing", "write a quantile, for instance \"0.99\"");
            None
        }
    };
    let limit = match spec.max.as_ref() {
        Some(text) => refusals.take(&max_path, text.parse()),
        None => {
            refusals.add(&max_path, "missing", "write the longest time allowed, for instance 500ms");
            None
        }
    };
    if limit.is_some_and(|limit| limit.is_zero() || limit > LONGEST_LIMIT) {
        refusals.add(max_path, "outside 1ms to 1h", "write a duration between them, for instance 500ms");
        return None;
    }
    Some(Check::Latency { limit: limit?, max: rounded(1.0 - quantile?) })
}

fn value(path: &str, spec: &QuerySpec, refusals: &mut Refusals) -> Option<Check> {
    let query = admit_query(&format!("{path}.query"), spec.query.as_deref(), refusals);
    let min = number(&format!("{path}.min"), spec.min.as_ref(), refusals);
    let max = number(&format!("{path}.max"), spec.max.as_ref(), refusals);
    if spec.min.is_none() && spec.max.is_none() {
        refusals.add(
            format!("{path}.max"),
            "without min and max nothing is judged",
            "write the largest value allowed, for instance \"5\"",
        );
        return None;
    }
    if let (Some(min), Some(max)) = (min, max)
        && min > max
    {
        refusals.add(
            format!("{path}.min"),
            format!("{min} is above max {max}: no value fits"),
            "swap min and max",
        );
        return None;
    }
    let refused = (spec.min.is_some() && min.is_none()) || (spec.max.is_some() && max.is_none());
    query.filter(|_| !refused).map(|query| Check::Value { query, min, max })
}

fn number(path: &str, text: Option<&NumberText>, refusals: &mut Refusals) -> Option<f64> {
    refusals.take(path, text?.parse())
}

const PLACEHOLDERS: [&str; 4] = ["revision", "stable", "rollout", "namespace"];

fn admit_query(path: &str, query: Option<&str>, refusals: &mut Refusals) -> Option<String> {
    let Some(query) = query.filter(|q| !q.trim().is_empty()) else {
        refusals.add(path, "missing", "write a PromQL query that gives one number");
        return None;
    };
    if query.len() > LONGEST_QUERY {
        refusals.add(
            path,
            format!("{} bytes long", query.len()),
            format!("write at most {LONGEST_QUERY}, or use a recording rule"),
        );
        return None;
    }
    let placeholders = query.split("{{").skip(1).filter_map(|rest| rest.split_once("}}"));
    let unknown = placeholders.map(|(name, _)| name.trim()).find(|name| !PLACEHOLDERS.contains(name));
    if let Some(name) = unknown {
        refusals.add(
            path,
            format!("unknown placeholder `{{{{{name}}}}}`"),
            did_you_mean(name, &PLACEHOLDERS),
        );
        return None;
    }
    Some(query.to_owned())
}
