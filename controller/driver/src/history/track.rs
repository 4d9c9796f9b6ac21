//! What was measured of one Rollout.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use penstock_core::time::Time;
use penstock_crds::{TrafficStatus, stamp};
use penstock_signals::RolloutName;
use penstock_signals::proxy::Traffic;

use super::flow::{Passed, Told};
use super::{Curve, Flow, Point};

/// A point tells of so long.
const WINDOW: Duration = Duration::from_secs(5);
/// Most points; then every second one of the older half goes.
const POINTS: usize = 720;
/// Most looks that are remembered for the window.
const LOOKS: usize = 12;

/// A Rollout that is measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    /// Its name.
    pub name: RolloutName,
    /// Share of the canary in percent.
    pub weight: i32,
    /// The stable revision.
    pub stable: Option<String>,
    /// The revision that is released; after an abort, the one that was.
    pub canary: Option<String>,
    /// Whether a release is under way.
    pub under_way: bool,
    /// The latency that is judged: between 0 and 1.
    pub quantile: f64,
}

/// What each proxy has counted, by revision.
pub(super) type Counted = BTreeMap<String, BTreeMap<String, Traffic>>;

/// The points of a Rollout.
#[derive(Debug, Default)]
pub(super) struct Track {
    points: Vec<Point>,
    epoch: u64,
    next: u64,
    since: Option<u64>,
    looks: VecDeque<(Time, Counted)>,
    canary: Option<String>,
    trouble: Option<String>,
    latest: Option<Latest>,
}

/// What was measured last.
#[derive(Debug)]
pub(super) struct Latest {
    pub(super) at: Time,
    quantile: f64,
    flows: Vec<(String, Flow)>,
}

impl Latest {
    /// What a revision was sent, in figures that a person reads.
    pub(super) fn of(&self, revision: &str) -> Option<TrafficStatus> {
        let (_, flow) = self.flows.iter().find(|(name, _)| name == revision)?;
        let tidy = |value: f64| (value * 100.0).round() / 100.0;
        Some(TrafficStatus {
            rate: tidy(flow.rate),
            errors: flow.errors.map(tidy),
            latency: flow.latency.map(tidy),
            quantile: (self.quantile * 1e6).round() / 1e4,
            time: stamp(self.at),
        })
    }
}

impl Track {
    pub(super) fn latest(&self) -> Option<&Latest> {
        self.latest.as_ref()
    }

    /// When it was measured last.
    pub(super) fn last(&self) -> u64 {
        self.points.last().map_or(0, |point| point.at)
    }

    pub(super) fn curve(&self, epoch: u64, after: u64) -> Curve {
        let known = if epoch == self.epoch { after } else { 0 };
        let from = self.points.partition_point(|point| point.number <= known);
        Curve {
            epoch: self.epoch,
            since: self.since,
            points: self.points[from..].to_vec(),
            trouble: self.trouble.clone(),
        }
    }

    /// `trouble`: why a proxy did not tell.
    pub(super) fn take(&mut self, subject: &Subject, told: Counted, trouble: Option<String>, now: Time) {
        self.trouble = trouble.filter(|_| told.is_empty());
        let (canary, stable) = (subject.canary.as_deref(), subject.stable.as_deref());
        let flow = |revision: Option<&str>| self.flow(revision?, &told, subject.quantile, now);
        let canary = canary.filter(|canary| Some(*canary) != stable);
        let (canary, stable) = (flow(canary), flow(stable));
        let named = |revision: &Option<String>, flow: Option<Flow>| Some((revision.clone()?, flow?));
        let flows = [named(&subject.canary, canary), named(&subject.stable, stable)];
        let flows = flows.into_iter().flatten().collect();
        self.latest = Some(Latest { at: now, quantile: subject.quantile, flows });
        self.since.get_or_insert(now.0);
        if self.canary != subject.canary {
            self.canary.clone_from(&subject.canary);
            // The curves of two canaries are two curves.
            let weight = self.points.last().map_or(subject.weight, |point| point.weight);
            self.push(Point { number: 0, at: now.0.saturating_sub(1), weight, canary: None, stable: None });
        }
        self.push(Point { number: 0, at: now.0, weight: subject.weight, canary, stable });
        self.looks.push_back((now, told));
        let old = |(at, _): &(Time, Counted)| now.since(*at) > WINDOW;
        // One look at the edge of the window or behind it is the base of the next point.
        while self.looks.len() > LOOKS || self.looks.get(1).is_some_and(old) {
            self.looks.pop_front();
        }
        if self.points.len() > POINTS {
            self.thin();
        }
    }

    fn push(&mut self, point: Point) {
        self.next += 1;
        self.points.push(Point { number: self.next, ..point });
    }

    /// What a revision did since the first look that is remembered.
    fn flow(&self, revision: &str, told: &Counted, quantile: f64, now: Time) -> Option<Flow> {
        let of = |counted: &'_ Counted| -> bool { counted.values().any(|all| all.contains_key(revision)) };
        let (at, before) = self.looks.front()?;
        if told.is_empty() || !of(told) {
            return None;
        }
        let passed = Passed::between(&of_revision(before, revision), &of_revision(told, revision), |i| {
            before.contains_key(i)
        });
        Some(passed.flow(now.since(*at).as_secs_f64(), quantile))
    }

    fn thin(&mut self) {
        let half = self.points.len() / 2;
        let mut n = 0;
        self.points.retain(|_| {
            n += 1;
            n > half || n % 2 == 0
        });
        self.epoch += 1;
    }
}

fn of_revision<'a>(counted: &'a Counted, revision: &str) -> Told<'a> {
    counted.iter().filter_map(|(instance, all)| Some((instance.as_str(), all.get(revision)?))).collect()
}

#[cfg(test)]
mod tests {
    use penstock_core::sample::Counts;

    use super::*;

    fn subject() -> Subject {
        Subject {
            name: RolloutName { namespace: "shop".into(), name: "checkout".into() },
            weight: 20,
            stable: Some("v1".into()),
            canary: Some("v2".into()),
            under_way: true,
            quantile: 0.99,
        }
    }

    fn counted(v1: u64, v2: u64, bad: u64) -> Counted {
        let of = |total, bad| Traffic { ended: Counts { total, bad }, within: Vec::new() };
        [("a".to_owned(), [("v1".to_owned(), of(v1, 0)), ("v2".to_owned(), of(v2, bad))].into())].into()
    }

    #[test]
    fn both_revisions_are_told_over_the_last_seconds() {
        let mut track = Track::default();
        for second in 0..20 {
            track.take(&subject(), counted(80 * second, 20 * second, 2 * second), None, Time(1000 * second));
        }
        let curve = track.curve(0, 0);
        assert_eq!((curve.points.len(), curve.since), (21, Some(0)));
        assert_eq!(curve.points[0].canary, None, "the curve of a new canary begins");
        assert_eq!(curve.points[1].canary, None, "one look tells nothing");
        let last = curve.points.last().unwrap();
        let (canary, stable) = (last.canary.unwrap(), last.stable.unwrap());
        assert_eq!(
            (canary.rate, canary.errors, stable.rate, stable.errors),
            (20.0, Some(10.0), 80.0, Some(0.0))
        );
        assert!(track.looks.len() <= 7);
        let told = |revision| track.latest().unwrap().of(revision).map(|t| (t.rate, t.errors, t.quantile));
        assert_eq!(told("v1"), Some((80.0, Some(0.0), 99.0)));
        assert_eq!(told("v2"), Some((20.0, Some(10.0), 99.0)));
        assert_eq!(told("v3"), None);
    }

    #[test]
    fn proxies_that_say_nothing_leave_a_gap() {
        let mut track = Track::default();
        track.take(&subject(), counted(10, 10, 0), None, Time(1000));
        track.take(&subject(), Counted::new(), Some("a can't be reached".into()), Time(2000));
        let curve = track.curve(0, 2);
        assert_eq!(curve.points.iter().map(|p| p.canary).collect::<Vec<_>>(), [None]);
        assert_eq!(curve.trouble.as_deref(), Some("a can't be reached"));
        track.take(&subject(), counted(20, 20, 0), Some("b can't be reached".into()), Time(3000));
        assert_eq!(track.curve(0, 2).trouble, None, "others have told");
    }

    #[test]
    fn a_long_release_fits_and_readers_hear_of_it() {
        let mut track = Track::default();
        for second in 0..10_000 {
            track.take(&subject(), counted(second, second, 0), None, Time(1000 * second));
        }
        assert!(track.points.len() <= POINTS);
        assert!(track.epoch > 0);
        let all = track.curve(0, 9_991);
        assert_eq!(all.points.len(), track.points.len(), "points of an earlier epoch are void");
        assert_eq!(all.points[0].at / 1000, track.points[0].at / 1000);
        assert_eq!(track.curve(track.epoch, 9_991).points.len(), 10);
        assert!(all.points.windows(2).all(|two| two[0].number < two[1].number));
    }
}
