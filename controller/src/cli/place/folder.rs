//! A folder that `penstock local` works on.

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use penstock_crds::DecisionRecord;
use penstock_driver::local::instance::Instance;
use penstock_driver::local::orders::{self, Orders};
use penstock_driver::local::{Home, Key};

use super::{Patience, Place, Saved, Scope, Show, Target, Told, Wish};
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
