//! The proxies themselves: what their `/metrics` say, without a Prometheus in between.

mod exposition;

use std::collections::BTreeMap;

use penstock_core::sample::{Asks, Counts, NoData, Question, Sample};
use penstock_core::time::Time;
use penstock_proxy_api::{Culprit, metric};

pub use exposition::{Exposition, Malformed};

use crate::RolloutName;
use crate::counts::{self, Buckets, Edge, Ended, Told};
use exposition::Series;

/// Most revisions of a Rollout whose traffic is told.
pub const MOST_REVISIONS: usize = 32;

/// Answers a question from what each proxy exposed, or why one did not; `at` is when the first of them was asked.
///
/// Every proxy has to know the revision: one that doesn't, or that did not answer, is missing from the answer.
pub fn parse(
    question: &Question,
    rollout: &RolloutName,
    proxies: &BTreeMap<String, Result<Exposition, NoData>>,
    at: Time,
) -> Result<Sample, NoData> {
    if proxies.is_empty() {
        return Err(NoData("there is no proxy to ask; is one running?".to_owned()));
    }
    let value = match &question.asks {
        Asks::Errors => counts::errors(told(proxies, |instance, exposition| {
            ended(&Asked { question, rollout, instance, exposition })
        }))?,
        Asks::SlowerThan(limit) => {
            let told = told(proxies, |instance, exposition| {
                buckets(&Asked { question, rollout, instance, exposition })
            });
            counts::slower(*limit, told)?
        }
        Asks::Value(_) => {
            return Err(NoData(
                "a query needs Prometheus: give its address in analysis.source.prometheus.address".to_owned(),
            ));
        }
    };
    Ok(Sample { at, value })
}

/// What one proxy has counted for one revision since it started.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Traffic {
    /// Requests that ended well or by the revision's fault, and how many did by its fault.
    pub ended: Counts,
    /// The latency histogram: upper edges in seconds, ascending, the last one infinite, each with the requests up to it.
    pub within: Vec<(f64, u64)>,
}

/// What one proxy has counted for a Rollout, by revision: at most [`MOST_REVISIONS`]. Values that no counter can have
/// are left out.
pub fn traffic(rollout: &RolloutName, exposition: &Exposition) -> BTreeMap<String, Traffic> {
    let mut all: BTreeMap<String, Traffic> = BTreeMap::new();
    for (series, value) in exposition.series() {
        let ours = series.label(metric::NAMESPACE) == rollout.namespace
            && series.label(metric::ROLLOUT) == rollout.name;
        let revision = series.label(metric::REVISION);
        let Some(count) = counts::whole(*value).filter(|_| ours && !revision.is_empty()) else { continue };
        if !all.contains_key(revision) && all.len() >= MOST_REVISIONS {
            continue;
        }
        let told = all.entry(revision.to_owned()).or_default();
        if series.name == metric::REQUESTS {
            let culprit = series.label(metric::CULPRIT);
            let bad = culprit == Culprit::Upstream.as_str();
            if bad || culprit == Culprit::None.as_str() {
                told.ended = told.ended.plus(Counts { total: count, bad: if bad { count } else { 0 } });
            }
        } else if let Some(edge) = series.label("le").parse().ok().filter(|edge: &f64| *edge >= 0.0) {
            told.within.push((edge, count));
        }
    }
    all.values_mut().for_each(|told| told.within.sort_by(|a, b| a.0.total_cmp(&b.0)));
    all
}

/// One proxy that is asked.
struct Asked<'a> {
    question: &'a Question,
    rollout: &'a RolloutName,
    instance: &'a str,
    exposition: &'a Exposition,
}

fn told<T>(
    proxies: &BTreeMap<String, Result<Exposition, NoData>>,
    each: impl Fn(&str, &Exposition) -> Result<T, NoData>,
) -> Told<T> {
    let mut told = Told { instances: BTreeMap::new(), missing: BTreeMap::new() };
    for (instance, answer) in proxies {
        let result = answer.as_ref().map_err(NoData::clone).and_then(|exposition| each(instance, exposition));
        told.take(instance.clone(), result);
    }
    told
}

fn ended(asked: &Asked<'_>) -> Result<Ended, NoData> {
    let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
    for (series, value) in ours(metric::REQUESTS, asked)? {
        let sum = sums.entry(series.label(metric::CULPRIT)).or_default();
        *sum = sum.saturating_add(count(asked.instance, series, value)?);
    }
    let mut ended = Ended::default();
    sums.into_iter().for_each(|(culprit, sum)| ended.tell(culprit, sum));
    Ok(ended)
}

fn buckets(asked: &Asked<'_>) -> Result<Buckets, NoData> {
    let mut buckets = Buckets::new();
    for (series, value) in ours(&format!("{}_bucket", metric::LATENCY), asked)? {
        let le = series.label("le");
        let edge = Edge::parse(le).ok_or_else(|| counts::no_edge(asked.instance, le))?;
        buckets.insert(edge, count(asked.instance, series, value)?);
    }
    Ok(buckets)
}

/// The series of one revision; at least one.
fn ours<'a>(name: &str, asked: &Asked<'a>) -> Result<Vec<(&'a Series, f64)>, NoData> {
    let Asked { question, rollout, instance, exposition } = asked;
    let ours = |series: &Series| {
        series.name == name
            && series.label(metric::NAMESPACE) == rollout.namespace
            && series.label(metric::ROLLOUT) == rollout.name
            && series.label(metric::REVISION) == question.revision.as_str()
    };
    let told = exposition.series().iter().map(|(series, value)| (series, *value));
    let found: Vec<_> = told.filter(|(series, _)| ours(series)).collect();
    if found.is_empty() {
        let revision = &question.revision;
        return Err(NoData(format!("proxy {instance} doesn't know revision {revision} of {rollout} (yet)")));
    }
    Ok(found)
}

fn count(instance: &str, series: &Series, value: f64) -> Result<u64, NoData> {
    let name = &series.name;
    counts::whole(value)
        .ok_or_else(|| NoData(format!("proxy {instance} has {name} at {value}, which no counter can be")))
}

#[cfg(test)]
mod tests;
