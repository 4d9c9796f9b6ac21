//! What a watch has seen so far of each metric: short lines of history. Pure.

use std::collections::{BTreeMap, VecDeque};

use penstock_core::time::Time;
use penstock_crds::{Measurement, Rollout, time_of};

/// Most points of a line.
const POINTS: usize = 32;
/// Most points of a line that shares its line with another one.
const SHORT: usize = 16;
/// Most lines; beyond them nothing is remembered.
const LINES: usize = 200;
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// What a watch has seen so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Past {
    lines: BTreeMap<Key, Line>,
}

/// A metric of the release of a revision.
type Key = (String, String, String, String);

#[derive(Clone, Debug, Default)]
struct Line {
    at: Option<Time>,
    total: i64,
    bad: i64,
    /// Share of bad requests between two measurements, in percent, or another figure; `None`: there were no requests.
    points: VecDeque<Option<f64>>,
}

impl Past {
    /// Takes in what is measured now.
    pub(crate) fn take(&mut self, rollout: &Rollout) {
        let Some(status) = &rollout.status else { return };
        for measurement in &status.measurements {
            if let Some(line) = self.line(key(rollout, &measurement.metric)) {
                line.take(measurement);
            }
        }
        for revision in &status.revisions {
            let Some(traffic) = &revision.traffic else { continue };
            let at = traffic.time.as_ref().map(time_of);
            for (key, point) in
                sorts(rollout, &revision.name).into_iter().zip([traffic.errors, traffic.latency])
            {
                if let Some(line) = self.line(key) {
                    line.note(at, point);
                }
            }
        }
    }

    fn line(&mut self, key: Key) -> Option<&mut Line> {
        let room = self.lines.contains_key(&key) || self.lines.len() < LINES;
        room.then(|| self.lines.entry(key).or_default())
    }

    /// The history of a metric as a little picture; empty until there is any.
    pub(crate) fn picture(&self, rollout: &Rollout, measurement: &Measurement) -> String {
        self.drawn(&key(rollout, &measurement.metric), POINTS)
    }

    /// The same of the errors and the latency of a revision.
    pub(crate) fn pictures(&self, rollout: &Rollout, revision: &str) -> (String, String) {
        let [errors, latency] = sorts(rollout, revision);
        (self.drawn(&errors, SHORT), self.drawn(&latency, SHORT))
    }

    fn drawn(&self, key: &Key, most: usize) -> String {
        let Some(line) = self.lines.get(key) else { return String::new() };
        picture(line.points.range(line.points.len().saturating_sub(most)..).copied())
    }
}

fn key(rollout: &Rollout, what: &str) -> Key {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let canary = rollout.status.as_ref().map(|status| text(&status.canary_revision)).unwrap_or_default();
    let metadata = &rollout.metadata;
    (text(&metadata.namespace), text(&metadata.name), canary, what.to_owned())
}

/// What is remembered of a revision. No metric has such a name.
fn sorts(rollout: &Rollout, revision: &str) -> [Key; 2] {
    ["errors of", "latency of"].map(|what| key(rollout, &format!("{what} {revision}")))
}

impl Line {
    fn take(&mut self, measurement: &Measurement) {
        let at = measurement.time.as_ref().map(time_of);
        let Some((total, bad)) = measurement.total.zip(measurement.bad) else { return };
        if at.is_none() || at == self.at {
            return;
        }
        // A step begins to count at zero.
        let (before, bad_before) = if total < self.total { (0, 0) } else { (self.total, self.bad) };
        let requests = total - before;
        let known = self.at.is_some();
        (self.at, self.total, self.bad) = (at, total, bad);
        if known {
            let share = 100.0 * (bad - bad_before).max(0) as f64 / requests.max(1) as f64;
            self.push((requests > 0).then_some(share));
        }
    }

    /// Takes in what was counted at a moment, once.
    fn note(&mut self, at: Option<Time>, point: Option<f64>) {
        if at.is_some() && at != self.at {
            self.at = at;
            self.push(point);
        }
    }

    fn push(&mut self, point: Option<f64>) {
        self.points.push_back(point);
        while self.points.len() > POINTS {
            self.points.pop_front();
        }
    }
}

/// Low is none at all, high the most of them; a gap where there were no requests.
fn picture(points: impl Iterator<Item = Option<f64>> + Clone) -> String {
    let most = points.clone().flatten().fold(0.0, f64::max);
    let level = |share: f64| {
        let steps = LEVELS.len() - 1;
        // Something is never drawn as nothing.
        let least = usize::from(share > 0.0);
        let high = if most > 0.0 { (share / most * steps as f64).round() } else { 0.0 };
        LEVELS[(high as usize).clamp(least, steps)]
    };
    points.map(|point| point.map_or(' ', level)).collect()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    fn measured(seconds: u64, total: i64, bad: i64) -> Rollout {
        let time = penstock_crds::stamp(Time(1_795_246_275_000 + seconds * 1000)).unwrap();
        let measurement =
            json!({"metric": "errors", "verdict": "Good", "total": total, "bad": bad, "time": time});
        Rollout::deserialize(json!({
            "apiVersion": "penstock.dev/v1alpha1",
            "kind": "Rollout",
            "metadata": {"name": "checkout", "namespace": "shop"},
            "spec": {},
            "status": {"canaryRevision": "7d9f8a0b22", "measurements": [measurement]},
        }))
        .unwrap()
    }

    fn seen(all: &[(u64, i64, i64)]) -> String {
        let mut past = Past::default();
        let rollouts: Vec<_> = all.iter().map(|&(at, total, bad)| measured(at, total, bad)).collect();
        rollouts.iter().for_each(|rollout| past.take(rollout));
        let last = rollouts.last().unwrap();
        past.picture(last, &last.status.as_ref().unwrap().measurements[0])
    }

    #[test]
    fn what_passed_between_two_looks_is_drawn() {
        assert_eq!(seen(&[(0, 100, 5)]), "", "one look tells nothing");
        assert_eq!(seen(&[(0, 0, 0), (1, 100, 0), (2, 200, 10), (3, 300, 11)]), "▁█▂");
        assert_eq!(seen(&[(0, 0, 0), (1, 100, 0), (1, 100, 0), (2, 100, 0), (3, 200, 0)]), "▁ ▁");
    }

    #[test]
    fn what_both_revisions_were_sent_is_drawn_once_for_each_count() {
        let mut past = Past::default();
        let at = |seconds: u64, errors: Option<f64>| {
            let time = penstock_crds::stamp(Time(1_795_246_275_000 + seconds * 1000)).unwrap();
            let traffic = json!({"rate": 80.0, "errors": errors, "latency": 10.0 * seconds as f64, "quantile": 99.0, "time": time});
            let mut rollout = measured(seconds, 0, 0);
            let revision =
                json!({"name": "bb", "role": "stable", "scale": 1, "ready": 1, "traffic": traffic});
            rollout.status.as_mut().unwrap().revisions = vec![serde_json::from_value(revision).unwrap()];
            rollout
        };
        let all = [at(1, Some(0.0)), at(2, Some(10.0)), at(2, Some(10.0)), at(3, None), at(4, Some(5.0))];
        all.iter().for_each(|rollout| past.take(rollout));
        assert_eq!(past.pictures(&all[0], "bb"), ("▁█ ▅".to_owned(), "▃▅▆█".to_owned()));
        assert_eq!(past.pictures(&all[0], "cc"), (String::new(), String::new()));
    }

    #[test]
    fn a_step_that_begins_to_count_anew_is_no_fall() {
        assert_eq!(seen(&[(0, 900, 0), (1, 1000, 100), (2, 10, 1), (3, 20, 2)]), "█▂▂");
        let long: Vec<_> = (0..100).map(|n| (n, 10 * n as i64, 0)).collect();
        assert_eq!(seen(&long).chars().count(), POINTS);
    }
}
