//! The proxies themselves: what their `/metrics` say, without a Prometheus in between.

mod exposition;

use std::collections::BTreeMap;
use std::time::Duration;

use penstock_core::sample::{Asks, NoData, Question, Reading, Sample};
use penstock_core::time::Time;
use penstock_proxy_api::metric;

pub use exposition::{Exposition, Malformed};

use crate::RolloutName;
use crate::counts::{self, Buckets, Edge, Ended};
use exposition::Series;

/// Answers a question from what each proxy exposed; `at` is when the first of them was asked.
///
/// Every proxy has to know the revision: one that doesn't makes it half an answer.
pub fn parse(
    question: &Question,
    rollout: &RolloutName,
    proxies: &BTreeMap<String, Exposition>,
    at: Time,
) -> Result<Sample, NoData> {
    if proxies.is_empty() {
        return Err(NoData("there is no proxy to ask; is one running?".to_owned()));
    }
    let value = match &question.asks {
        Asks::Errors => errors(question, rollout, proxies)?,
        Asks::SlowerThan(limit) => slower(*limit, question, rollout, proxies)?,
        Asks::Value(_) => {
            return Err(NoData(
                "a query needs Prometheus: give its address in analysis.source.prometheus.address".to_owned(),
            ));
        }
    };
    Ok(Sample { at, value })
}

fn errors(
    question: &Question,
    rollout: &RolloutName,
    proxies: &BTreeMap<String, Exposition>,
) -> Result<Reading, NoData> {
    let mut instances = BTreeMap::new();
    for (instance, exposition) in proxies {
        let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
        for (series, value) in ours(metric::REQUESTS, question, rollout, instance, exposition)? {
            let sum = sums.entry(series.label(metric::CULPRIT)).or_default();
            *sum = sum.saturating_add(count(instance, series, value)?);
        }
        let mut ended = Ended::default();
        sums.into_iter().for_each(|(culprit, sum)| ended.tell(culprit, sum));
        instances.insert(instance.clone(), ended);
    }
    counts::errors(instances)
}

fn slower(
    limit: Duration,
    question: &Question,
    rollout: &RolloutName,
    proxies: &BTreeMap<String, Exposition>,
) -> Result<Reading, NoData> {
    let name = format!("{}_bucket", metric::LATENCY);
    let mut instances = BTreeMap::new();
    for (instance, exposition) in proxies {
        let mut buckets = Buckets::new();
        for (series, value) in ours(&name, question, rollout, instance, exposition)? {
            let le = series.label("le");
            let edge = Edge::parse(le).ok_or_else(|| {
                NoData(format!(
                    "proxy {instance} has a histogram bucket with the edge `{le}`, which is no number"
                ))
            })?;
            buckets.insert(edge, count(instance, series, value)?);
        }
        instances.insert(instance.clone(), buckets);
    }
    counts::slower(limit, instances)
}

/// The series of one revision; at least one.
fn ours<'a>(
    name: &str,
    question: &Question,
    rollout: &RolloutName,
    instance: &str,
    exposition: &'a Exposition,
) -> Result<Vec<(&'a Series, f64)>, NoData> {
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
