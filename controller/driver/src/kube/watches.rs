//! The watches that feed the indices, and what is wrong with them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use kube::Api;
use kube::Resource;
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event, watcher};
use penstock_signals::RolloutName;
use serde::de::DeserializeOwned;

use super::call::{CallError, Kind};
use super::metrics::Metrics;

/// A watch that is refused again is so sooner than this after it was tried again.
const ANSWER: Duration = Duration::from_secs(3);
/// The same where nobody answers.
const SILENCE: Duration = Duration::from_secs(12);
/// Objects that are listed at once: of them all is held that the server tells, before most of it is left away.
const PAGE: u32 = 100;
/// Between two ends of a watch that are none of its failures.
const RARE: Duration = Duration::from_secs(10);

/// What keeps watches from being up to date, by the kind of objects.
#[derive(Default)]
pub(super) struct Outages(Mutex<BTreeMap<&'static str, Outage>>);

struct Outage {
    error: CallError,
    /// A watch that has not failed again by then is up to date. It tells nothing of that itself until an object changes.
    until: Instant,
}

impl Outages {
    /// What is wrong with the watch of a kind.
    pub(super) fn of(&self, resource: &'static str) -> Option<CallError> {
        self.all().remove(resource)
    }

    /// All that is wrong.
    pub(super) fn all(&self) -> BTreeMap<&'static str, CallError> {
        let mut outages = self.lock();
        outages.retain(|_, outage| Instant::now() < outage.until);
        outages.iter().map(|(resource, outage)| (*resource, outage.error.clone())).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, Outage>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which objects to watch.
pub(super) struct Subject<K> {
    pub(super) api: Api<K>,
    pub(super) config: watcher::Config,
    /// Their kind, as `kubectl` has it.
    pub(super) resource: &'static str,
}

/// Watches until it is dropped. `apply` takes each event in and says who is concerned; they are told by `wake`.
pub(super) async fn follow<K>(
    subject: Subject<K>,
    outages: &Outages,
    metrics: &Metrics,
    apply: impl Fn(Event<K>) -> BTreeSet<RolloutName>,
    wake: impl Fn(RolloutName),
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let Subject { api, config, resource } = subject;
    let (mut outdated, mut failures) = (Outdated::default(), 0_u32);
    let stream =
        watcher(api, config.page_size(PAGE)).map(|event| outdated.pass(event)).backoff(Pace::default());
    let mut stream = std::pin::pin!(stream);
    while let Some(event) = stream.next().await {
        match event {
            Ok(None) => failures = 0,
            Ok(Some(event)) => {
                failures = 0;
                // A list that begins shows nothing yet: the server may still refuse the rest.
                if !matches!(event, Event::Init) && outages.lock().remove(resource).is_some() {
                    tracing::info!(resource, "is watched again");
                }
                apply(event).into_iter().for_each(&wake);
            }
            Err(error) => {
                metrics.watch_failed(resource);
                let until = Instant::now() + heard_by(failures, is_answer(&error));
                failures = failures.saturating_add(1);
                let error = words(error);
                let before = outages.lock().insert(resource, Outage { error: error.clone(), until });
                if before.is_none_or(|before| before.error.kind != error.kind) {
                    tracing::warn!(resource, error = error.why, "can't be watched; it is tried again");
                }
            }
        }
    }
}

/// Where a watch was is too old to go on from (410), as after a restart of the API server: that is no failure, and all is
/// listed again at once. A server that says so again and again has failed.
#[derive(Default)]
struct Outdated {
    last: Option<Instant>,
}

impl Outdated {
    fn pass<T>(&mut self, event: watcher::Result<T>) -> watcher::Result<Option<T>> {
        match event {
            Err(watcher::Error::WatchError(status)) if status.code == 410 && self.is_rare() => Ok(None),
            event => event.map(Some),
        }
    }

    fn is_rare(&mut self) -> bool {
        self.last.replace(Instant::now()).is_none_or(|last| last.elapsed() > RARE)
    }
}

/// How long after a failure the next one is heard of at the latest, if there were so many in a row before it.
fn heard_by(failures: u32, answered: bool) -> Duration {
    Pace::longest(failures) + if answered { ANSWER } else { SILENCE }
}

/// Whether the API server has said so itself.
fn is_answer(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => matches!(error, kube::Error::Api(_)),
        watcher::Error::WatchError(_) | watcher::Error::NoResourceVersion => true,
    }
}

fn words(error: watcher::Error) -> CallError {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => CallError::from(error),
        watcher::Error::WatchError(status) => CallError::from(kube::Error::Api(status)),
        watcher::Error::NoResourceVersion => {
            CallError { kind: Kind::Unavailable, why: "the API server sends no version".to_owned() }
        }
    }
}

/// Waits between two attempts: 0.1 s at first, 5 s at most, each up to half as long again by chance.
#[derive(Default)]
struct Pace {
    attempts: u32,
}

impl Pace {
    /// The least after so many attempts.
    fn least(attempts: u32) -> Duration {
        Duration::from_millis(100_u64.saturating_mul(1 << attempts.min(6)).min(5_000))
    }

    /// The longest after so many attempts.
    fn longest(attempts: u32) -> Duration {
        Pace::least(attempts) * 3 / 2
    }
}

impl Iterator for Pace {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let (least, longest) = (Pace::least(self.attempts), Pace::longest(self.attempts));
        self.attempts = self.attempts.saturating_add(1);
        Some(least + (longest - least).mul_f64(fastrand::f64()))
    }
}

impl Backoff for Pace {
    fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_lasts_until_the_next_attempt_would_have_failed() {
        let mut pace = Pace::default();
        for failures in 0..40 {
            let pause = pace.next().unwrap();
            assert!(heard_by(failures, true) >= pause + ANSWER, "after {failures}");
            assert!(heard_by(failures, false) >= pause + SILENCE, "after {failures}");
        }
        // As when the API server serves a kind since a moment: it says "later" once, and the next watch stands.
        assert!(heard_by(0, true) < Duration::from_secs(4));
    }

    #[test]
    fn what_is_outdated_is_listed_again_at_once_but_not_for_ever() {
        let gone = || -> watcher::Result<()> {
            let status = kube::core::Status { code: 410, ..kube::core::Status::default() };
            Err(watcher::Error::WatchError(status.boxed()))
        };
        let mut outdated = Outdated::default();
        assert!(matches!(outdated.pass(gone()), Ok(None)));
        assert!(outdated.pass(gone()).is_err());
        assert!(matches!(outdated.pass(Ok(())), Ok(Some(()))));
        assert!(outdated.pass::<()>(Err(watcher::Error::NoResourceVersion)).is_err());
    }
}
