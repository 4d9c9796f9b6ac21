//! Waits for changes of the folder: told by the kernel, and looked for each second as well.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use super::source::Nudge;

/// How often the folder is looked at without having been told.
const POLL: Duration = Duration::from_secs(1);
/// How long a file that is being written is left alone after the last write, if nobody closes it.
const QUIET: Duration = Duration::from_millis(50);
/// How long a file that is written all the time is left alone.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a removed file is waited for to come back.
const REMOVED: Duration = Duration::from_millis(20);

/// Why to look.
#[derive(Debug)]
pub(crate) enum Wake {
    /// The kernel says so.
    Event(notify::Result<notify::Event>),
    /// The proxy says so.
    Told(Nudge),
}

/// Says when to look at the folder, and at what.
#[derive(Debug)]
pub(crate) struct Watch {
    wakes: Receiver<Wake>,
    pending: Pending,
    _watcher: Option<RecommendedWatcher>,
}

#[derive(Debug, Default)]
struct Pending {
    /// Files to be read in any case.
    touched: BTreeSet<PathBuf>,
    /// Files that are being written: since when, and the last write.
    written: BTreeMap<PathBuf, (Instant, Instant)>,
    /// When to look at the latest.
    due: Option<Instant>,
    /// Something has been missed.
    whole: bool,
}

/// What to look at.
#[derive(Debug, Default)]
pub(crate) struct Look {
    /// At nothing but what is touched.
    pub(crate) only: bool,
    pub(crate) touched: BTreeSet<PathBuf>,
    pub(crate) written: BTreeSet<PathBuf>,
}

impl Watch {
    /// Watches `folder`. The sender wakes it up from elsewhere.
    pub(crate) fn new(folder: &Path) -> (Watch, Sender<Wake>) {
        let (sender, wakes) = channel();
        let events = sender.clone();
        let watcher = notify::recommended_watcher(move |event| drop(events.send(Wake::Event(event))));
        let watcher = watcher.and_then(|mut watcher| {
            watcher.watch(folder, RecursiveMode::NonRecursive)?;
            Ok(watcher)
        });
        if let Err(error) = &watcher {
            tracing::warn!(%error, "folder can't be watched; looking at it each second instead");
        }
        (Watch { wakes, pending: Pending::default(), _watcher: watcher.ok() }, sender)
    }

    /// Waits until there is something to look at, `soon` at the latest. `None`: the proxy stops.
    pub(crate) fn wait(&mut self, soon: Option<Duration>) -> Option<Look> {
        let latest = Instant::now() + soon.unwrap_or(POLL).min(POLL);
        loop {
            let now = Instant::now();
            let due = self.pending.due(now).map_or(latest, |due| due.min(latest));
            if due <= now {
                let only = now < latest;
                let look = self.pending.take(now);
                return Some(Look { only: only && look.only, ..look });
            }
            match self.wakes.recv_timeout(due - now) {
                Ok(Wake::Event(Ok(event))) => self.pending.note(event, Instant::now()),
                Ok(Wake::Event(Err(_)) | Wake::Told(Nudge::Reload)) => {
                    (self.pending.due, self.pending.whole) = (Some(now), true);
                }
                Ok(Wake::Told(Nudge::Stop)) | Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}

impl Pending {
    fn note(&mut self, event: notify::Event, now: Instant) {
        self.whole |= event.need_rescan();
        let delay = match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Modify(ModifyKind::Name(_)) => {
                self.written.retain(|path, _| !event.paths.contains(path));
                Duration::ZERO
            }
            EventKind::Create(_) | EventKind::Modify(ModifyKind::Data(_)) => {
                for path in &event.paths {
                    self.written.entry(path.clone()).or_insert((now, now)).1 = now;
                }
                return;
            }
            EventKind::Remove(_) => REMOVED,
            EventKind::Modify(_) | EventKind::Any | EventKind::Other => Duration::ZERO,
            EventKind::Access(_) => return,
        };
        self.touched.extend(event.paths);
        self.due = Some(self.due.unwrap_or(now + delay).min(now + delay));
    }

    fn due(&self, now: Instant) -> Option<Instant> {
        let quiet = |(since, last): &(Instant, Instant)| (*last + QUIET).min(*since + PATIENCE).max(now);
        self.due.into_iter().chain(self.written.values().map(quiet)).min()
    }

    fn take(&mut self, now: Instant) -> Look {
        let busy = |since: Instant, last: Instant| now < last + QUIET && now < since + PATIENCE;
        let (written, done): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.written).into_iter().partition(|(_, (since, last))| busy(*since, *last));
        let mut touched = std::mem::take(&mut self.touched);
        touched.extend(done.into_keys());
        let paths = written.keys().cloned().collect();
        (self.written, self.due) = (written, None);
        Look { only: !std::mem::take(&mut self.whole), touched, written: paths }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_is_read_when_it_has_been_closed() {
        let dir = tempfile::tempdir().unwrap();
        let (mut watch, _wake) = Watch::new(dir.path());
        let path = dir.path().join("a.yaml");
        fs::write(&path, "x").unwrap();
        let look = watch.wait(None).unwrap();
        assert!(look.touched.contains(&path) && look.written.is_empty(), "{look:?}");
    }

    #[test]
    fn a_file_that_is_being_written_is_left_alone_for_a_while() {
        let (mut pending, now) = (Pending::default(), Instant::now());
        let event = |kind| notify::Event::new(kind).add_path("a.yaml".into());
        pending.note(event(EventKind::Modify(ModifyKind::Data(notify::event::DataChange::Any))), now);
        assert_eq!(pending.take(now).written.len(), 1);
        assert_eq!(pending.due(now), Some(now + QUIET));
        let look = pending.take(now + QUIET);
        assert_eq!((look.touched.len(), look.written.len()), (1, 0));
    }

    #[test]
    fn a_stop_ends_the_wait() {
        let dir = tempfile::tempdir().unwrap();
        let (mut watch, wake) = Watch::new(dir.path());
        wake.send(Wake::Told(Nudge::Stop)).unwrap();
        assert!(watch.wait(None).is_none());
    }
}
