//! Prometheus: one PromQL query per question, and what its answer means.
//!
//! Raw counters are asked, never `rate()` or `increase()`: those lose the first errors of a new series and
//! extrapolate. Everything that belongs to one measurement comes from one query, so from one evaluation.
//!
//! **Labels.** A proxy's `namespace` is renamed `exported_namespace` when Prometheus attaches a `namespace` of
//! its own, as is usual in a cluster, and `honor_labels` is false. Routers run in the namespace of the Rollouts
//! they serve, so both have the same value, and either form is found; a series whose two namespaces differ is
//! somebody else's and is left out. `pod` and `instance` come from Prometheus.
//!
//! **Clocks.** The age of the numbers is a difference of two times of Prometheus, so that its clock may differ
//! from ours.

mod fill;
mod reply;

use std::collections::BTreeMap;
use std::time::Duration;

use penstock_core::sample::{Asks, NoData, Question, Reading, Sample};
use penstock_core::time::Time;
use penstock_proxy_api::metric;
use prometheus_http_query::response::{Data, InstantVector, PromqlResult};

pub use reply::reply;

use crate::RolloutName;
use crate::counts::{self, Edge, Ended, Told};

/// Label that tells the parts of one answer apart.
const PART: &str = "penstock_part";

/// How long a proxy that can't be scraped any more makes an answer incomplete.
const MISSED_FOR: &str = "10m";

/// The PromQL for a question. Errors: the user's own query has a placeholder that can't be filled.
pub fn query(question: &Question, rollout: &RolloutName) -> Result<String, NoData> {
    match &question.asks {
        Asks::Errors => Ok(counters(metric::REQUESTS, question, rollout, r#",culprit=~"none|upstream""#)),
        Asks::SlowerThan(_) => Ok(counters(&format!("{}_bucket", metric::LATENCY), question, rollout, "")),
        Asks::Value(query) => fill::fill(query, question, rollout),
    }
}

/// What an answer to [`query`] means; `asked` is when the query was sent.
pub fn parse(question: &Question, answer: &PromqlResult, asked: Time) -> Result<Sample, NoData> {
    match &question.asks {
        Asks::Errors => errors(parts(question, answer)?, asked),
        Asks::SlowerThan(limit) => slower(*limit, parts(question, answer)?, asked),
        Asks::Value(_) => value(answer.data(), asked),
    }
}

/// Three parts: the counters, when they were scraped, and proxies of the Rollout that should be in and are not.
///
/// `max` before `sum`: a proxy that two jobs scrape, or two replicas of Prometheus, counts once. A Prometheus that began
/// anew and can't scrape a proxy would go on for minutes to tell what it had scraped before: that is left out.
fn counters(name: &str, question: &Question, rollout: &RolloutName, more: &str) -> String {
    let rollout = labels(rollout);
    let revision = fill::quoted(question.revision.as_str());
    let series = format!("{name}{{{rollout},revision={revision}{more}}}");
    let proxy = format!("{}{{{rollout}}}", metric::GENERATION);
    let scraped = "unless on (job, instance) up == 0";
    let known = format!("max by (instance, pod, culprit, le, code) ({series} {scraped})");
    let count = format!("sum by (instance, pod, culprit, le) ({known})");
    let at = format!("min by (instance, pod) (timestamp({series}) {scraped})");
    let down = format!("up == 0 and on (job, instance) last_over_time({proxy}[{MISSED_FOR}])");
    let behind = format!("up == 1 and on (job, instance) {proxy} unless on (job, instance) {series}");
    let missed = format!("max by (instance, pod) ({down} or {behind})");
    [("count", count), ("at", at), ("missed", missed)]
        .map(|(part, expression)| format!(r#"label_replace({expression}, "{PART}", "{part}", "", "")"#))
        .join("\nor ")
}

fn labels(rollout: &RolloutName) -> String {
    let namespace = fill::quoted(&rollout.namespace);
    let renamed = fill::quoted(&format!("|{}", fill::literal(&rollout.namespace)));
    let name = fill::quoted(&rollout.name);
    format!("namespace={namespace},exported_namespace=~{renamed},rollout={name}")
}

/// An answer to a query by [`counters`], sorted out.
#[derive(Debug, Default)]
struct Parts<'a> {
    /// Of each instance: label that divides its series, counter.
    counts: Told<Vec<(&'a str, u64)>>,
    /// Age in seconds of the oldest counter.
    age: f64,
}

fn parts<'a>(question: &Question, answer: &'a PromqlResult) -> Result<Parts<'a>, NoData> {
    let Data::Vector(elements) = answer.data() else {
        return Err(NoData("the answer is no vector; is this address Prometheus?".to_owned()));
    };
    let pods = pods(elements);
    let named = |element: &'a InstantVector| Ok((instance(element, &pods)?, element));
    let elements = elements.iter().map(named).collect::<Result<Vec<_>, NoData>>()?;
    let divider = if question.asks == Asks::Errors { metric::CULPRIT } else { "le" };
    let ages = ages(&elements);
    let mut counts = Told::default();
    for (instance, told) in told_counts(&elements, divider) {
        let undated = || NoData(format!("Prometheus doesn't say when it scraped proxy {instance}"));
        let told = told.and_then(|told| if ages.contains_key(&instance) { Ok(told) } else { Err(undated()) });
        counts.take(instance, told);
    }
    for (instance, why) in missed(question, &elements) {
        // What another job, or another Prometheus, has scraped of it is known.
        if !counts.instances.contains_key(&instance) {
            counts.missing.insert(instance, why);
        }
    }
    if counts.instances.is_empty() && counts.missing.is_empty() {
        return Err(no_series(question));
    }
    let age = counts.instances.keys().filter_map(|instance| ages.get(instance)).copied().fold(0.0, f64::max);
    Ok(Parts { counts, age })
}

fn part(element: &InstantVector) -> &str {
    element.metric().get(PART).map_or("", String::as_str)
}

/// Which pod is behind an address, as far as any series says so.
fn pods(elements: &[InstantVector]) -> BTreeMap<&str, &str> {
    elements
        .iter()
        .filter_map(|e| Some((e.metric().get("instance")?.as_str(), e.metric().get("pod")?.as_str())))
        .collect()
}

fn instance(element: &InstantVector, pods: &BTreeMap<&str, &str>) -> Result<String, NoData> {
    let address = element.metric().get("instance").map(String::as_str);
    let pod = element.metric().get("pod").map(String::as_str).or_else(|| pods.get(address?).copied());
    pod.or(address).map(str::to_owned).ok_or_else(|| {
        NoData(
            "the series of the proxies have no label `instance`, so resets can't be told from counts; \
             give the address of the Prometheus that scrapes the proxies itself"
                .to_owned(),
        )
    })
}

/// `up` of a missed proxy tells whether it can't be scraped or lacks the revision.
fn missed(question: &Question, elements: &[(String, &InstantVector)]) -> Vec<(String, NoData)> {
    let why = |(instance, element): &(String, &InstantVector)| {
        let why = if element.sample().value() == 0.0 {
            format!("Prometheus can't scrape proxy {instance}; see its page Status > Target health")
        } else {
            format!("proxy {instance} doesn't know revision {} (yet)", question.revision)
        };
        (instance.clone(), NoData(format!("half an answer: {why}")))
    };
    elements.iter().filter(|(_, element)| part(element) == "missed").map(why).collect()
}

type Divided<'a> = Vec<(&'a str, u64)>;

fn told_counts<'a>(
    elements: &[(String, &'a InstantVector)],
    divider: &str,
) -> BTreeMap<String, Result<Divided<'a>, NoData>> {
    let mut all: BTreeMap<String, Result<Divided<'a>, NoData>> = BTreeMap::new();
    for (instance, element) in elements.iter().filter(|(_, element)| part(element) == "count") {
        let told = all.entry(instance.clone()).or_insert_with(|| Ok(Vec::new()));
        let value = element.sample().value();
        let label = element.metric().get(divider).map_or("", String::as_str);
        match (counts::whole(value), &mut *told) {
            (Some(count), Ok(told)) => told.push((label, count)),
            (None, Ok(_)) => {
                let why = format!("proxy {instance} has a counter at {value}, which no counter can be");
                *told = Err(NoData(why));
            }
            (_, Err(_)) => {}
        }
    }
    all
}

/// Seconds between the scrape of each instance, the oldest of several, and the evaluation.
fn ages(elements: &[(String, &InstantVector)]) -> BTreeMap<String, f64> {
    let mut ages: BTreeMap<String, f64> = BTreeMap::new();
    for (instance, element) in elements.iter().filter(|(_, element)| part(element) == "at") {
        let age = element.sample().timestamp() - element.sample().value();
        let oldest = ages.entry(instance.clone()).or_default();
        *oldest = oldest.max(age);
    }
    ages
}

fn no_series(question: &Question) -> NoData {
    let name = if question.asks == Asks::Errors { metric::REQUESTS } else { metric::LATENCY };
    NoData(format!(
        "no series {name} of revision {}; does Prometheus scrape the proxies, with `honor_labels: true` \
         if its targets carry labels `namespace`, `rollout` or `revision`, and classic histograms?",
        question.revision
    ))
}

fn errors(parts: Parts<'_>, asked: Time) -> Result<Sample, NoData> {
    let ended = |told: Divided<'_>| {
        let mut ended = Ended::default();
        told.into_iter().for_each(|(culprit, count)| ended.tell(culprit, count));
        Ok(ended)
    };
    let told = parts.counts.and_then(|_, told| ended(told));
    Ok(Sample { at: before(asked, parts.age), value: counts::errors(told)? })
}

fn slower(limit: Duration, parts: Parts<'_>, asked: Time) -> Result<Sample, NoData> {
    let buckets = |instance: &str, told: Divided<'_>| {
        let mut buckets = counts::Buckets::new();
        for (le, count) in told {
            let edge = Edge::parse(le).ok_or_else(|| counts::no_edge(instance, le))?;
            let told = buckets.entry(edge).or_default();
            *told = (*told).max(count);
        }
        Ok(buckets)
    };
    let told = parts.counts.and_then(buckets);
    Ok(Sample { at: before(asked, parts.age), value: counts::slower(limit, told)? })
}

fn before(asked: Time, age: f64) -> Time {
    let age = Duration::try_from_secs_f64(age).unwrap_or(Duration::MAX);
    Time(asked.0.saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX)))
}

fn value(data: &Data, asked: Time) -> Result<Sample, NoData> {
    let value = match data {
        Data::Scalar(sample) => sample.value(),
        Data::Vector(elements) => one(elements)?.sample().value(),
        Data::Matrix(_) => {
            return Err(NoData("the query yields a range of values; remove the range selector".to_owned()));
        }
    };
    if value.is_finite() {
        return Ok(Sample { at: asked, value: Reading::Value(value) });
    }
    Err(NoData(format!(
        "the query yields {value}; it divides by zero, most likely, as long as there are no requests"
    )))
}

fn one(elements: &[InstantVector]) -> Result<&InstantVector, NoData> {
    match elements {
        [one] => Ok(one),
        [] => Err(NoData(
            "the query yields nothing; try it in Prometheus, and mind labels and names".to_owned(),
        )),
        several => Err(NoData(format!(
            "the query yields {} values instead of one; wrap it in sum(…) or max(…)",
            several.len()
        ))),
    }
}

#[cfg(test)]
mod tests;
