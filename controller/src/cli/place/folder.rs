//! A folder that `penstock local` works on.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use penstock_crds::DecisionRecord;
use penstock_driver::local::instance::Instance;
use penstock_driver::local::logs::Reader;
use penstock_driver::local::orders::{self, Orders};
use penstock_driver::local::revisions::Revisions;
use penstock_driver::local::{Home, Key, files};

use super::{Kept, Misused, NotFound, Patience, Place, Saved, Scope, Show, Target, Told, Wish};
use crate::cli::logs::{Say, Wanted};
use crate::cli::paint::complain;
use crate::cli::{called, now, store};

/// How soon a change is seen.
const WATCHED: Duration = Duration::from_millis(250);
/// How soon an answer is seen.
const ANSWERED: Duration = Duration::from_millis(20);

/// A folder that `penstock local` works on.
pub(crate) struct Folder {
    dir: PathBuf,
    /// Nobody has named it, and there is a cluster that could have been meant.
    guessed: bool,
}

impl Folder {
    /// `guessed`: nobody has named it, and there is a cluster that could have been meant.
    pub(crate) fn new(dir: PathBuf, guessed: bool) -> Folder {
        Folder { dir, guessed }
    }

    /// Who is told that something is not there may have thought of a cluster.
    fn hint(&self, error: anyhow::Error) -> anyhow::Error {
        match error.downcast::<super::NotFound>() {
            Ok(super::NotFound(text)) if self.guessed => super::NotFound(format!(
                "{text} (this folder was taken because of its .penstock; for a cluster use --context)"
            ))
            .into(),
            Ok(not_found) => not_found.into(),
            Err(error) => error,
        }
    }
}

impl Place for Folder {
    fn all(&self, scope: &Scope) -> Result<Vec<Saved>> {
        let mut all = store::all(&self.dir).map_err(|error| self.hint(error))?;
        let wanted = scope.namespace.as_deref().filter(|_| !scope.everywhere);
        all.retain(|saved| wanted.is_none_or(|namespace| namespace == saved.namespace()));
        Ok(all)
    }

    fn find(&self, target: &Target) -> Result<Saved> {
        let found = store::find(&self.dir, &target.name, target.namespace.as_deref());
        found.map_err(|error| self.hint(error))
    }

    fn watch(&self, target: Option<&Target>, scope: &Scope, show: Show<'_>) -> Result<()> {
        loop {
            show(match target {
                Some(target) => vec![self.find(target)?],
                None => self.all(scope)?,
            })?;
            sleep(WATCHED);
        }
    }

    fn give(&self, to: &Saved, wish: Wish, patience: Patience) -> Result<Told> {
        let home = Home::at(&self.dir)?;
        let key = Key::new(to.namespace(), to.name())?;
        let who = wish.who.or_else(|| std::env::var("USER").ok()).unwrap_or_else(|| "somebody".to_owned());
        let wish = orders::Wish { kind: wish.kind, who, reason: wish.reason };
        let id = Orders::new(&home).submit(&key, wish, now())?;
        if Instance::holder(&home).is_none() {
            let (dir, me) = (self.dir.display(), called::name());
            return Ok(Told::Written(format!(
                "recorded; nobody runs {dir} now, it is followed when `{me} local {dir}` starts"
            )));
        }
        let Some(patience) = patience else { return Ok(Told::Written("recorded".to_owned())) };
        match answer(&self.dir, &key, &id, patience)? {
            Some(decision) => Ok(Told::Answered(Box::new(decision))),
            None => bail!(
                "the order is recorded, but was not followed within {} s: see the output of `{} local`",
                patience.as_secs(),
                called::name()
            ),
        }
    }

    fn kept(&self, of: &Saved) -> Result<Vec<Kept>> {
        let home = Home::at(&self.dir)?;
        let key = Key::new(of.namespace(), of.name())?;
        let listed = Revisions::new(&home).list(&key)?;
        listed.problems.iter().for_each(|(revision, why)| complain(&format!("revision {revision}: {why}")));
        let kept = listed.revisions.into_iter().map(|(revision, kept)| {
            let template = serde_json::to_value(&kept.template)?;
            Ok(Kept { revision: revision.to_string(), created: Some(kept.created), template })
        });
        kept.collect()
    }

    fn logs(&self, of: &Saved, wanted: &Wanted, say: Say<'_>) -> Result<()> {
        if wanted.since.is_some() || wanted.container.is_some() {
            let text =
                "--since and --container are for clusters: a folder has one log for each pod, without times";
            bail!(Misused(text.to_owned()));
        }
        let home = Home::at(&self.dir)?;
        let prefix = format!("{}-{}-", of.name(), wanted.revision);
        let mut readers: BTreeMap<String, Reader> = BTreeMap::new();
        loop {
            for file in files::list(&home.logs(), usize::MAX)? {
                let name =
                    file.file_name().and_then(OsStr::to_str).and_then(|name| name.strip_suffix(".log"));
                let name = name.filter(|name| name.starts_with(&prefix) && !readers.contains_key(*name));
                let Some(name) = name else { continue };
                // What begins while we look is heard from its beginning.
                let tail = if readers.is_empty() || !wanted.follow { Some(wanted.tail) } else { None };
                readers.insert(name.to_owned(), Reader::open(&file, tail)?);
            }
            if readers.is_empty() && !wanted.follow {
                bail!(NotFound(format!("no pod of revision {} has said anything", wanted.revision)));
            }
            for (pod, reader) in &mut readers {
                reader.read(&mut |line| say(pod, line))?;
            }
            if !wanted.follow {
                return Ok(());
            }
            sleep(WATCHED);
        }
    }

    fn empty(&self, scope: &Scope) -> String {
        let namespace = scope.namespace.as_deref().filter(|_| !scope.everywhere);
        let namespace = namespace.map(|n| format!("namespace {n} of ")).unwrap_or_default();
        format!("no Rollouts in {namespace}{}", self.dir.display())
    }
}

/// The decision that answers an order; `None` when there is none in time.
fn answer(dir: &Path, key: &Key, id: &str, patience: Duration) -> Result<Option<DecisionRecord>> {
    let begun = Instant::now();
    while begun.elapsed() < patience {
        let saved = store::find(dir, key.name(), Some(key.namespace()))?;
        if let Some(answer) = saved.decisions().iter().find(|d| d.order.as_deref() == Some(id)) {
            return Ok(Some(answer.clone()));
        }
        sleep(ANSWERED);
    }
    Ok(None)
}
