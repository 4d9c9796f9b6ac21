//! Where objects come from: a folder of files, or the API server of a cluster. Behind it, all is the same.

use std::path::PathBuf;
use std::time::Duration;

use super::contents::Contents;
use super::folder::Folder;
use super::watch::{Look, Wake, Watch};

/// A place that holds objects and says when they change.
pub(crate) trait Source {
    /// Waits until there is something to look at, `soon` at the latest. Whether anything differs from before;
    /// `None`: the proxy stops.
    fn wait(&mut self, soon: Duration) -> Option<bool>;

    /// What it holds.
    fn contents(&self) -> Contents<'_>;

    /// Whether all there is has been seen once.
    fn is_complete(&self) -> bool;
}

/// Why a source is to wake up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nudge {
    /// A person wants everything read again.
    Reload,
    /// The proxy stops.
    Stop,
}

/// Wakes a source up.
pub(crate) type Nudger = Box<dyn Fn(Nudge) + Send>;

/// A folder that is watched.
#[derive(Debug)]
pub(crate) struct Files {
    folder: Folder,
    watch: Watch,
}

impl Files {
    /// Reads the folder, and watches it from here on.
    pub(crate) fn new(path: PathBuf) -> (Files, Nudger) {
        // As the kernel names what has changed in it.
        let path = std::path::absolute(&path).unwrap_or(path);
        let (watch, wake) = Watch::new(&path);
        let mut folder = Folder::new(path);
        folder.look(&Look::default());
        (Files { folder, watch }, Box::new(move |nudge| drop(wake.send(Wake::Told(nudge)))))
    }
}

impl Source for Files {
    fn wait(&mut self, soon: Duration) -> Option<bool> {
        let look = self.watch.wait(Some(soon))?;
        Some(self.folder.look(&look))
    }

    fn contents(&self) -> Contents<'_> {
        self.folder.contents()
    }

    fn is_complete(&self) -> bool {
        true
    }
}
