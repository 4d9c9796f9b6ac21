//! Measures what is released or looked at, and nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use penstock_core::sample::NoData;
use penstock_core::strategy::Check;
use penstock_core::time::Time;
use penstock_crds::{Phase, Rollout, RolloutStatus, admit};
use penstock_signals::RolloutName;
use penstock_signals::proxy::traffic;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use super::Subject;
use crate::ask::proxies::Proxies;
use crate::clock::now;
use crate::view::View;

/// Most Rollouts that are measured at a time.
const MOST: usize = 64;
/// Namespaces whose proxies are asked at the same time.
const CONCURRENT: usize = 4;
/// After a release it is measured on for so long: what became of the traffic is of interest.
const AFTER: Duration = Duration::from_secs(120);
/// The latency of Rollouts that judge none.
const QUANTILE: f64 = 0.99;

/// Whose proxies are asked.
pub trait Recorded: View {
    /// `host:port` of the admin listeners of the proxies that serve a namespace.
    fn proxies(&self, namespace: &str) -> Vec<String>;
}

/// Measures each `pace` as long as there is anything to measure, for ever.
pub async fn record<V: Recorded>(view: Arc<V>, proxies: Proxies, pace: Duration) {
    let mut known = Known::default();
    let mut changes = view.changes();
    loop {
        let begun = Instant::now();
        changes.borrow_and_update();
        known.update(&*view, now());
        let subjects = known.subjects(&*view, &view.histories().looked_at(), now());
        if subjects.is_empty() {
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = view.histories().looked.notified() => {}
            }
        } else {
            measure(&*view, &proxies, subjects).await;
            view.histories().tell();
        }
        sleep_until(begun + pace).await;
    }
}

async fn measure<V: Recorded>(view: &V, proxies: &Proxies, subjects: Vec<Subject>) {
    let mut by_namespace: BTreeMap<String, Vec<Subject>> = BTreeMap::new();
    for subject in subjects {
        by_namespace.entry(subject.name.namespace.clone()).or_default().push(subject);
    }
    let each = by_namespace.into_iter().map(|(namespace, subjects)| async move {
        let exposed = proxies.scrape(&view.proxies(&namespace)).await;
        let mut failed = exposed.values().filter_map(|told| told.as_ref().err());
        let trouble = match failed.next() {
            Some(NoData(why)) => Some(why.clone()),
            None => exposed.is_empty().then(|| "no proxy is known yet".to_owned()),
        };
        for subject in subjects {
            let told = exposed.iter().filter_map(|(instance, told)| {
                Some((instance.clone(), traffic(&subject.name, told.as_ref().ok()?)))
            });
            view.histories().take(&subject, told.collect(), trouble.clone(), now());
        }
    });
    stream::iter(each).buffer_unordered(CONCURRENT).collect::<Vec<()>>().await;
}

/// What is known of each Rollout, by its version.
#[derive(Default)]
struct Known {
    all: BTreeMap<RolloutName, Seen>,
}

struct Seen {
    version: String,
    subject: Subject,
    /// That of the first latency that is judged, once somebody has asked.
    quantile: Option<f64>,
    /// When a release was under way last.
    released: Option<Time>,
}

impl Known {
    fn update(&mut self, view: &impl View, now: Time) {
        let listed = view.list();
        let mut before = std::mem::take(&mut self.all);
        for (name, version) in listed {
            let seen = before.remove(&name);
            let seen = match seen {
                Some(seen) if seen.version == version => seen,
                seen => {
                    let Some(object) = view.get(&name) else { continue };
                    let (earlier, released) = seen.map_or((None, None), |s| (s.subject.canary, s.released));
                    let subject = subject(name.clone(), &object, earlier);
                    Seen { version, subject, quantile: None, released }
                }
            };
            self.all.insert(name, seen);
        }
        let under_way = self.all.values_mut().filter(|seen| seen.subject.under_way);
        under_way.for_each(|seen| seen.released = Some(now));
    }

    fn subjects(&mut self, view: &impl View, looked_at: &[RolloutName], now: Time) -> Vec<Subject> {
        let recent = |seen: &Seen| seen.released.is_some_and(|at| now.since(at) < AFTER);
        let wanted = |(name, seen): &(&RolloutName, &mut Seen)| recent(seen) || looked_at.contains(name);
        let measured = |(name, seen): (&RolloutName, &mut Seen)| {
            // A whole spec is read: not of those that nobody asks for.
            let quantile = *seen
                .quantile
                .get_or_insert_with(|| view.get(name).and_then(|o| quantile(&o)).unwrap_or(QUANTILE));
            Subject { quantile, ..seen.subject.clone() }
        };
        self.all.iter_mut().filter(wanted).take(MOST).map(measured).collect()
    }
}

/// `earlier`: the canary that was seen before.
fn subject(name: RolloutName, object: &Value, earlier: Option<String>) -> Subject {
    let status = object.get("status").cloned().unwrap_or_default();
    let status: RolloutStatus = serde_json::from_value(status).unwrap_or_default();
    // Before there is a stable revision, the one on its way is no canary.
    let canary = status.canary_revision.filter(|_| status.stable_revision.is_some());
    let under_way = canary.is_some() && status.phase != Phase::Stable;
    Subject {
        name,
        weight: if canary.is_some() { status.split.map_or(0, |split| split.weight) } else { 0 },
        canary: canary.or(earlier.filter(|earlier| status.stable_revision.as_ref() != Some(earlier))),
        stable: status.stable_revision,
        under_way,
        quantile: QUANTILE,
    }
}

/// Of the first latency that is judged.
fn quantile(object: &Value) -> Option<f64> {
    let admitted = admit(&Rollout::deserialize(object).ok()?).ok()?;
    admitted.strategy.analysis.metrics.iter().find_map(|metric| match metric.check {
        Check::Latency { max, .. } => Some(1.0 - max),
        Check::ErrorRate { .. } | Check::Value { .. } => None,
    })
}
