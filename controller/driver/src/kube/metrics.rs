//! What the controller tells Prometheus of itself.

use std::time::Duration;

use penstock_crds::{RolloutStatus, words};
use penstock_signals::RolloutName;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::call::Kind;
use crate::post::Tallies;

type Labels = Vec<(&'static str, String)>;

/// Most Rollouts that have series of their own; of further ones there are none.
const MOST_SERIES: usize = 10_000;
/// Upper edges of the histograms, in seconds.
const EDGES: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// The controller's series.
pub(super) struct Metrics {
    registry: Registry,
    lag: Histogram,
    turn: Histogram,
    weight: Family<Labels, Gauge>,
    phase: Family<Labels, Gauge>,
    calls: Counter,
    errors: Family<Labels, Counter>,
    watches: Family<Labels, Counter>,
    decisions: Family<Labels, Counter>,
    active: Gauge,
    leader: Gauge,
    series: std::sync::Mutex<std::collections::BTreeMap<RolloutName, &'static str>>,
}

impl Metrics {
    pub(super) fn new(notices: Tallies) -> Metrics {
        let mut registry = Registry::with_prefix("penstock_controller");
        let histogram = || Histogram::new(EDGES);
        let metrics = Metrics {
            lag: histogram(),
            turn: histogram(),
            weight: Family::default(),
            phase: Family::default(),
            calls: Counter::default(),
            errors: Family::default(),
            watches: Family::default(),
            decisions: Family::default(),
            active: Gauge::default(),
            leader: Gauge::default(),
            series: Default::default(),
            registry: Registry::default(),
        };
        let Metrics { lag, turn, weight, phase, calls, errors, watches, decisions, active, leader, .. } =
            &metrics;
        registry.register_with_unit(
            "decision_lag",
            "From when a turn is due to its decision",
            Unit::Seconds,
            lag.clone(),
        );
        registry.register_with_unit(
            "turn_duration",
            "How long a turn takes, writes included",
            Unit::Seconds,
            turn.clone(),
        );
        registry.register(
            "rollout_weight_percent",
            "Share of the traffic that the canary has",
            weight.clone(),
        );
        registry.register(
            "rollout_phase",
            "1 for the phase that a Rollout is in; Paused by a gate is Gated, by a freeze Frozen",
            phase.clone(),
        );
        registry.register(
            "api_calls",
            "Calls to the API server, watches and the lease left out",
            calls.clone(),
        );
        registry.register("api_errors", "Calls to the API server that failed", errors.clone());
        registry.register("watch_errors", "Watches that broke off and were begun anew", watches.clone());
        registry.register("decisions", "Decisions by kind", decisions.clone());
        registry.register("rollouts_active", "Rollouts that are looked at again and again", active.clone());
        registry.register("notices", "Notices of decisions by kind of receiver and result", notices.clone());
        registry.register("leader", "Whether this controller leads", leader.clone());
        for kind in ["slack", "teams", "webhook"] {
            for result in ["delivered", "failed", "lost"] {
                drop(notices.get_or_create(&vec![("kind", kind.to_owned()), ("result", result.to_owned())]));
            }
        }
        // Every kind of failure is there from the beginning: a first one is a rise, too.
        for kind in [
            Kind::Conflict,
            Kind::Missing,
            Kind::Absent,
            Kind::Exists,
            Kind::Forbidden,
            Kind::Invalid,
            Kind::Unavailable,
        ] {
            drop(errors.get_or_create(&vec![("kind", kind.as_str().to_owned())]));
        }
        Metrics { registry, ..metrics }
    }

    /// A turn was due so long ago when it had decided.
    pub(super) fn decided(&self, lag: Duration) {
        self.lag.observe(lag.as_secs_f64());
    }

    pub(super) fn turned(&self, took: Duration) {
        self.turn.observe(took.as_secs_f64());
    }

    pub(super) fn called(&self) {
        self.calls.inc();
    }

    pub(super) fn failed(&self, kind: Kind) {
        self.errors.get_or_create(&vec![("kind", kind.as_str().to_owned())]).inc();
    }

    pub(super) fn watch_failed(&self, what: &'static str) {
        self.watches.get_or_create(&vec![("resource", what.to_owned())]).inc();
    }

    pub(super) fn told(&self, what: &str) {
        self.decisions.get_or_create(&vec![("what", what.to_owned())]).inc();
    }

    pub(super) fn active(&self, rollouts: usize) {
        self.active.set(i64::try_from(rollouts).unwrap_or(i64::MAX));
    }

    pub(super) fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// Where a Rollout stands. A release that a gate or a freeze holds is told apart from one that waits for a person.
    pub(super) fn stands(&self, key: &RolloutName, status: &RolloutStatus) {
        let phase = words::held_by(status).unwrap_or(status.phase.as_str());
        let weight = status.split.as_ref().map_or(0, |split| split.weight);
        let mut series = self.series.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if series.len() >= MOST_SERIES && !series.contains_key(key) {
            return;
        }
        let before = series.insert(key.clone(), phase);
        if let Some(before) = before.filter(|before| *before != phase) {
            self.phase.remove(&phase_labels(key, before));
        }
        self.phase.get_or_create(&phase_labels(key, phase)).set(1);
        self.weight.get_or_create(&labels(key)).set(weight.into());
    }

    /// A Rollout is gone.
    pub(super) fn forget(&self, key: &RolloutName) {
        let mut series = self.series.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(before) = series.remove(key) {
            self.phase.remove(&phase_labels(key, before));
            self.weight.remove(&labels(key));
        }
    }

    /// All series as text (OpenMetrics 1.0).
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

fn labels(key: &RolloutName) -> Labels {
    vec![("namespace", key.namespace.clone()), ("rollout", key.name.clone())]
}

fn phase_labels(key: &RolloutName, phase: &str) -> Labels {
    let mut labels = labels(key);
    labels.push(("phase", phase.to_owned()));
    labels
}

#[cfg(test)]
mod tests {
    use penstock_crds::Phase;

    use super::*;

    #[test]
    fn a_rollout_has_one_phase_and_leaves_no_series_behind() {
        let metrics = Metrics::new(Tallies::default());
        let key = RolloutName { namespace: "shop".into(), name: "checkout".into() };
        let at = |phase| RolloutStatus { phase, ..RolloutStatus::default() };
        metrics.stands(&key, &at(Phase::Progressing));
        metrics.stands(&key, &at(Phase::Aborted));
        let text = metrics.text();
        assert!(!text.contains("Progressing") && text.contains("phase=\"Aborted\"} 1"), "{text}");
        assert!(text.contains("penstock_controller_api_errors_total{kind=\"conflict\"} 0"), "{text}");
        let condition = serde_json::json!({
            "type": "Reconciling", "status": "True", "reason": "Frozen", "message": "", "lastTransitionTime": "2026-11-21T07:29:15Z",
        });
        let frozen = vec![serde_json::from_value(condition).unwrap()];
        metrics.stands(&key, &RolloutStatus { conditions: frozen, ..at(Phase::Paused) });
        let text = metrics.text();
        assert!(
            !text.contains("Aborted") && !text.contains("Paused\"") && text.contains("phase=\"Frozen\"} 1"),
            "{text}"
        );
        metrics.forget(&key);
        assert!(!metrics.text().contains("checkout"), "{}", metrics.text());
    }
}
