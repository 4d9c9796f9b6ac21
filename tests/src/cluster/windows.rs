//! What the status says of the weights, beside what a client saw.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use penstock_crds::{DecisionRecord, time_of};

use super::journal::Seen;
use crate::traffic::Record;

/// A time in which, as the status says, all proxies gave the canary one share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Milliseconds since the Unix epoch.
    pub from: u64,
    /// The next split was decided then.
    pub to: u64,
    /// Share of the canary in percent.
    pub weight: i32,
    /// The canary's revision.
    pub revision: String,
}

/// All windows of a release, as it was told.
pub fn windows(states: &[Seen]) -> Vec<Window> {
    let mut windows: Vec<Window> = Vec::new();
    let mut open: Option<(i64, Window)> = None;
    for seen in states {
        let status = seen.status();
        let Some(split) = &status.split else { continue };
        if open.as_ref().is_some_and(|(generation, _)| *generation != split.generation) {
            windows.extend(open.take().map(|(_, window)| {
                let decided = decided_after(window.weight, &status.decisions);
                Window { to: decided.map_or(seen.at, |time| time.min(seen.at)), ..window }
            }));
        }
        let Some(revision) = status.canary_revision.filter(|_| open.is_none() && split.acknowledged) else {
            continue;
        };
        open = Some((split.generation, Window { from: seen.at, to: 0, weight: split.weight, revision }));
    }
    windows
}

/// When the canary's share was decided to be another one than this, in milliseconds since the Unix epoch. States may
/// have been missed: what was decided since then must not be taken for it.
fn decided_after(weight: i32, decisions: &[DecisionRecord]) -> Option<u64> {
    // What is drained was the canary before.
    let newest_first = decisions.iter().rev().filter(|d| d.weight.is_some() && d.what != "Drained");
    let first = newest_first.take_while(|decision| decision.weight != Some(weight)).last()?;
    first.time.as_ref().map(|time| time_of(time).0)
}

/// Which version of the test application each revision is.
pub fn versions(states: &[Seen]) -> BTreeMap<String, String> {
    let version = |seen: &Seen| {
        let (rollout, status) = (seen.rollout.as_ref()?, seen.status());
        let answered = status.observed_generation == rollout.metadata.generation;
        let revision = status.canary_revision.filter(|_| answered)?;
        let env = rollout.spec.template.as_ref()?.0.pointer("/spec/containers/0/env")?.as_array()?;
        let own = env.iter().find(|variable| variable["name"] == "VERSION")?;
        Some((revision, own["value"].as_str()?.to_owned()))
    };
    states.iter().filter_map(version).collect()
}

/// By how many requests a client was off what the status said, in each window with requests. Errors: more than one in
/// a thousand and those at both ends, for each of two routers.
pub fn shares(states: &[Seen], record: &Record) -> Result<Vec<f64>> {
    const ENDS: f64 = 4.0;
    let (versions, mut shares) = (versions(states), Vec::new());
    for window in windows(states) {
        let version =
            versions.get(&window.revision).with_context(|| format!("no version was told: {window:?}"))?;
        let (requests, off) = window.off(record, version);
        ensure!(
            off <= requests as f64 / 1000.0 + ENDS,
            "{off} of {requests} requests are off: {window:?}, {version}"
        );
        shares.extend((requests > 0).then_some(off));
    }
    Ok(shares)
}

impl Window {
    /// Requests in it, and by how many those of the canary are off what its share says. Those that were under way at one
    /// of its ends may belong to it or not, whichever fits: when all stands still for a moment, they are many.
    pub fn off(&self, record: &Record, canary: &str) -> (usize, f64) {
        let share = f64::from(self.weight) / 100.0;
        let inside = record.between(self.from, self.to);
        let open = record.under_way_at([self.from, self.to]);
        let (more, less) = (open.of(canary) as f64, (open.0.len() - open.of(canary)) as f64);
        let off = inside.of(canary) as f64 - share * inside.0.len() as f64;
        let (least, most) = (off - share * less, off + (1.0 - share) * more);
        (inside.0.len(), 0.0_f64.clamp(least, most).abs())
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
    use k8s_openapi::jiff::Timestamp;

    use super::*;
    use crate::traffic::Exchange;

    fn window() -> Window {
        Window { from: 1000, to: 2000, weight: 20, revision: "b".to_owned() }
    }

    /// One request each 10 ms, each fifth to v2; each takes so long.
    fn record(took: impl Fn(u64) -> u64) -> Record {
        let exchange = |n: u64| {
            let (sent, version) = (900 + 10 * n, if n.is_multiple_of(5) { "v2" } else { "v1" });
            Exchange { sent, ended: sent + took(n), answer: Ok((version.to_owned(), 200)) }
        };
        Record((0..150).map(exchange).collect())
    }

    fn decision(what: &str, weight: i32, at: i64) -> DecisionRecord {
        let time = Timestamp::from_millisecond(at).ok().map(MicroTime);
        DecisionRecord { time, what: what.to_owned(), weight: Some(weight), ..DecisionRecord::default() }
    }

    #[test]
    fn a_window_ends_with_the_first_decision_for_another_share_whatever_was_decided_since() {
        let mut told = vec![decision("Started", 0, 900), decision("Advanced", 20, 1000)];
        assert_eq!(decided_after(20, &told), None);
        told.push(decision("Drained", 0, 1500));
        told.push(decision("Advanced", 30, 2000));
        told.push(decision("Held", 30, 5000));
        assert_eq!(decided_after(20, &told), Some(2000));
        told.push(decision("Advanced", 100, 6000));
        assert_eq!(decided_after(20, &told), Some(2000));
        assert_eq!(decided_after(30, &told), Some(6000));
    }

    #[test]
    fn a_client_that_sees_what_the_status_says_is_not_off() {
        assert!(window().off(&record(|_| 2), "v2").1 < 1.0);
        let more = Window { weight: 30, ..window() };
        let (requests, off) = more.off(&record(|_| 2), "v2");
        assert!(requests == 100 && (9.0..11.0).contains(&off), "{off} of {requests}");
    }

    #[test]
    fn what_is_under_way_at_the_end_of_a_window_belongs_to_it_or_not() {
        // The canary takes long over each of its answers.
        assert!(window().off(&record(|n| if n.is_multiple_of(5) { 300 } else { 2 }), "v2").1 < 1.0);
        // For a moment, nothing goes on at all.
        assert!(window().off(&record(|n| if n > 80 { 400 } else { 2 }), "v2").1 < 1.0);
        let more = Window { weight: 40, ..window() };
        assert!(more.off(&record(|n| if n > 100 { 400 } else { 2 }), "v2").1 > 5.0, "that explains not all");
    }
}
