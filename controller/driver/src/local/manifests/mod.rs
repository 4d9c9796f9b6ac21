//! The user's manifests: saving a file is applying it.
//!
//! A file that can no longer be understood changes nothing that runs: what it said last goes on, and what is wrong
//! with it is told. A file that is removed takes its Rollouts along.

mod ledger;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use penstock_crds::{Admitted, MAX_BYTES, Place, Refusal, Rollout};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::ledger::{Ledger, Listing, Text};
use super::files::{self, Care, FileError};
use super::home::{Home, Key};
use super::watched::Watched;

/// Most manifests of a folder.
pub const MOST: usize = 500;
/// A change that no one told of is seen after this time.
const POLL: Duration = Duration::from_secs(2);
/// A file is read when it has not changed for so long.
const QUIET: Duration = Duration::from_millis(150);
/// A file is gone, not being replaced, when it is missing for so long.
const MISSING: Duration = Duration::from_millis(500);

/// What the folder asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// The Rollouts, by name. One that is not here any more is deleted.
    pub rollouts: BTreeMap<Key, Manifest>,
    /// What is wrong with the files, in their order.
    pub problems: Vec<Problem>,
}

/// A Rollout as a file has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// The file's name in the folder.
    pub file: String,
    /// The Rollout.
    pub rollout: Rollout,
    /// What the rollout machine works with.
    pub admitted: Admitted,
}

/// Something wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file's name in the folder.
    pub file: String,
    /// Where in the file, if it is known.
    pub place: Option<Place>,
    /// The Rollout that it is about, if that is known.
    pub key: Option<Key>,
    /// What is wrong with a spec, field by field; empty when it is not about a field.
    pub refusals: Vec<Refusal>,
    /// All of it in words, with file, line and remedy.
    pub text: String,
}

/// The manifests of a folder under watch. Dropping it ends the watch.
#[derive(Debug)]
pub struct Manifests {
    wanted: watch::Receiver<Arc<Wanted>>,
    watching: JoinHandle<()>,
}

impl Manifests {
    /// Reads the folder and watches it from then on. To be used inside a tokio runtime.
    ///
    /// What earlier runs have applied is remembered: a file that was spoilt in the meantime means what it meant then.
    /// Errors: the folder cannot be listed.
    pub fn watch(home: &Home) -> Result<Manifests, FileError> {
        let watched = Watched::new(home.dir(), false, POLL);
        let mut ledger = Ledger::default();
        ledger.take(&texts(&home.applied())?);
        let first = look(home, &mut ledger, &texts(home.dir())?);
        let (sender, wanted) = watch::channel(Arc::new(first));
        let watching = tokio::spawn(keep_watching(home.clone(), ledger, watched, sender));
        Ok(Manifests { wanted, watching })
    }

    /// What the folder asks for; changes with it.
    pub fn wanted(&self) -> watch::Receiver<Arc<Wanted>> {
        self.wanted.clone()
    }
}

impl Drop for Manifests {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

async fn keep_watching(
    home: Home,
    mut ledger: Ledger,
    mut watched: Watched,
    sender: watch::Sender<Arc<Wanted>>,
) {
    loop {
        if ledger.is_missing_something() {
            tokio::time::sleep(MISSING).await;
        } else {
            watched.settled(QUIET).await;
        }
        match texts(home.dir()) {
            Ok(listing) => tell(&sender, look(&home, &mut ledger, &listing)),
            Err(error) => tracing::warn!(%error, "cannot look at the manifests; what was applied goes on"),
        }
    }
}

fn look(home: &Home, ledger: &mut Ledger, listing: &Listing) -> Wanted {
    let wanted = ledger.take(listing);
    if let Err(error) = remember(home, ledger) {
        tracing::warn!(%error, "cannot remember what was applied");
    }
    wanted
}

fn tell(sender: &watch::Sender<Arc<Wanted>>, wanted: Wanted) {
    sender.send_if_modified(|told| {
        let news = **told != wanted;
        if news {
            *told = Arc::new(wanted);
        }
        news
    });
}

/// The manifests of a folder: files that end in yaml, yml or json, without those that begin with a dot.
fn texts(dir: &Path) -> Result<Listing, FileError> {
    let mut listing = Listing::new();
    for path in files::list(dir, usize::MAX)? {
        let manifest = path.extension().is_some_and(|end| ["yaml", "yml", "json"].iter().any(|e| *e == end));
        let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(|_| manifest) else {
            continue;
        };
        if listing.len() == MOST {
            tracing::warn!(dir = %dir.display(), "more than {MOST} manifests: the rest is not read");
            break;
        }
        if let Some(text) = text(&path) {
            listing.insert(name.to_owned(), text);
        }
    }
    Ok(listing)
}

fn text(path: &Path) -> Option<Text> {
    match files::read(path) {
        Ok(bytes) => bytes.map(|mut bytes| {
            // One byte more is enough for the reader to say that it is too large.
            bytes.truncate(MAX_BYTES + 1);
            Ok(bytes)
        }),
        Err(error) => Some(Err(error.to_string())),
    }
}

/// Keeps the last good text of each file, for the next run.
fn remember(home: &Home, ledger: &mut Ledger) -> Result<(), FileError> {
    for (file, text) in ledger.news() {
        let path = home.applied().join(file);
        match text {
            Some(text) => files::write(&path, &text, Care::Quick)?,
            None => drop(files::remove(&path)?),
        }
    }
    Ok(())
}
