//! What was measured of both revisions while releases were under way: bounded, in memory, for people only. Nothing is
//! decided by it.

mod flow;
mod record;
mod track;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use penstock_core::time::Time;
use penstock_crds::RolloutStatus;
use penstock_signals::RolloutName;
use serde::Serialize;
use tokio::sync::{Notify, watch};

pub use record::{Recorded, record};
pub use track::Subject;
use track::{Counted, Track};

/// Most Rollouts of which anything is kept; of more, those that were measured last.
pub const MOST: usize = 200;
/// What was measured longer ago is not told as the present.
const FRESH: Duration = Duration::from_secs(10);

/// What was measured at one moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Point {
    /// Rises by one from point to point.
    pub number: u64,
    /// When, in milliseconds since 1970.
    pub at: u64,
    /// Share of the canary in percent.
    pub weight: i32,
    /// What the canary did in the last seconds, if there is one and the proxies have told.
    pub canary: Option<Flow>,
    /// The same of the stable revision.
    pub stable: Option<Flow>,
}

/// The traffic of a revision in the last seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Flow {
    /// Requests a second.
    pub rate: f64,
    /// Share of those that failed by its fault, in percent; `None`: there were none.
    pub errors: Option<f64>,
    /// The latency that is judged, in milliseconds; `None`: there were no requests.
    pub latency: Option<f64>,
}

/// What was measured of one Rollout.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Curve {
    /// Changes when points were thinned out: those that were read before are void.
    pub epoch: u64,
    /// Since when it is measured, in milliseconds since 1970.
    pub since: Option<u64>,
    /// The points, oldest first.
    pub points: Vec<Point>,
    /// Why the last look at the proxies told nothing, if so.
    pub trouble: Option<String>,
}

/// What was measured of all Rollouts.
#[derive(Debug)]
pub struct Histories {
    inner: Mutex<Inner>,
    measured: watch::Sender<u64>,
    looked: Notify,
    begun: Time,
}

#[derive(Debug, Default)]
struct Inner {
    tracks: BTreeMap<RolloutName, Track>,
    looks: BTreeMap<RolloutName, usize>,
}

/// Somebody looks at a Rollout: it is measured as long as this is held, also when nothing is released.
#[derive(Debug)]
pub struct Look {
    of: RolloutName,
    histories: Arc<Histories>,
}

impl Drop for Look {
    fn drop(&mut self) {
        let mut inner = self.histories.lock();
        if let Some(looks) = inner.looks.get_mut(&self.of) {
            *looks = looks.saturating_sub(1);
            if *looks == 0 {
                inner.looks.remove(&self.of);
            }
        }
    }
}

/// Leaves in the status of a release under way what was told of its traffic before. While answers are on their way, the
/// turn that they wake tells what is new of both: one write for both.
pub(crate) fn keep_traffic(before: &RolloutStatus, status: &mut RolloutStatus) {
    if status.canary_revision.is_none() || status.stable_revision.is_none() {
        return;
    }
    for revision in &mut status.revisions {
        let same = before.revisions.iter().find(|before| before.name == revision.name);
        revision.traffic = same.and_then(|before| before.traffic.clone());
    }
}

impl Histories {
    /// Nothing was measured before `now`.
    pub fn new(now: Time) -> Histories {
        Histories {
            inner: Mutex::default(),
            measured: watch::channel(0).0,
            looked: Notify::new(),
            begun: now,
        }
    }

    /// Since when anything could have been measured.
    pub fn begun(&self) -> Time {
        self.begun
    }

    /// The points of a Rollout behind number `after` of `epoch`; all of them when points were thinned out since.
    pub fn curve(&self, of: &RolloutName, epoch: u64, after: u64) -> Curve {
        self.lock().tracks.get(of).map(|track| track.curve(epoch, after)).unwrap_or_default()
    }

    /// Writes into the status of a release under way what both of its revisions were sent lately.
    pub(crate) fn tell_of(&self, of: &RolloutName, status: &mut RolloutStatus, now: Time) {
        if status.canary_revision.is_none() || status.stable_revision.is_none() {
            return;
        }
        let inner = self.lock();
        let latest = inner.tracks.get(of).and_then(Track::latest);
        let Some(latest) = latest.filter(|latest| now.since(latest.at) < FRESH) else { return };
        for revision in &mut status.revisions {
            revision.traffic = latest.of(&revision.name);
        }
    }

    /// Rings after each measurement.
    pub fn measured(&self) -> watch::Receiver<u64> {
        self.measured.subscribe()
    }

    /// Has a Rollout measured as long as the result is held.
    pub fn look(self: &Arc<Self>, of: &RolloutName) -> Look {
        *self.lock().looks.entry(of.clone()).or_default() += 1;
        self.looked.notify_one();
        Look { of: of.clone(), histories: Arc::clone(self) }
    }

    fn looked_at(&self) -> Vec<RolloutName> {
        self.lock().looks.keys().cloned().collect()
    }

    /// Takes in what each proxy has counted for a Rollout by `now`; `trouble`: why one did not tell.
    fn take(&self, subject: &Subject, told: Counted, trouble: Option<String>, now: Time) {
        let mut inner = self.lock();
        inner.tracks.entry(subject.name.clone()).or_default().take(subject, told, trouble, now);
        while inner.tracks.len() > MOST {
            let oldest =
                inner.tracks.iter().min_by_key(|(_, track)| track.last()).map(|(name, _)| name.clone());
            oldest.and_then(|name| inner.tracks.remove(&name));
        }
    }

    fn tell(&self) {
        self.measured.send_modify(|n| *n = n.wrapping_add(1));
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
