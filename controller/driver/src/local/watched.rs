//! A folder that says when something in it may have changed.

use std::path::Path;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

/// A folder under watch. What it says is a hint: whoever hears it looks for himself.
#[derive(Debug)]
pub struct Watched {
    /// `None`: the system refuses; then the poll alone must do.
    _watcher: Option<RecommendedWatcher>,
    events: mpsc::Receiver<()>,
    _events: mpsc::Sender<()>,
    poll: Duration,
}

impl Watched {
    /// Watches a folder, and those in it if it is `deep`. A change that was missed is heard after `poll`.
    pub fn new(dir: &Path, deep: bool, poll: Duration) -> Watched {
        let (sender, events) = mpsc::channel(1);
        let tell = sender.clone();
        let mode = if deep { RecursiveMode::Recursive } else { RecursiveMode::NonRecursive };
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if !event.is_ok_and(|event| event.kind.is_access()) {
                // A full channel says it already.
                let _ = tell.try_send(());
            }
        });
        let watcher = watcher.and_then(|mut watcher| watcher.watch(dir, mode).map(|()| watcher));
        if let Err(error) = &watcher {
            tracing::warn!(dir = %dir.display(), %error, ?poll, "cannot watch a folder; it is looked at from time to time");
        }
        Watched { _watcher: watcher.ok(), events, _events: sender, poll }
    }

    /// Returns when something may have changed, or after the poll's time.
    pub async fn changed(&mut self) {
        let _ = timeout(self.poll, self.events.recv()).await;
    }

    /// As [`Watched::changed`], then waits until nothing has changed for `quiet`: 2 seconds at most.
    pub async fn settled(&mut self, quiet: Duration) {
        if timeout(self.poll, self.events.recv()).await.is_err() {
            return;
        }
        let latest = Instant::now() + Duration::from_secs(2);
        while let Ok(Some(())) = timeout_at(latest.min(Instant::now() + quiet), self.events.recv()).await {
            if Instant::now() >= latest {
                return;
            }
        }
    }
}
