//! The Rollouts of a folder as they were saved last, for reading only.

use std::path::Path;

use anyhow::{Result, bail};
use penstock_crds::Rollout;
use penstock_driver::local::store::{Store, StoreError};
use penstock_driver::local::{Home, Key};
use serde::Deserialize;
use serde_json::Value;

use super::paint::complain;

/// What was asked for is not there.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NotFound(pub(crate) String);

/// One saved Rollout.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Saved {
    pub(crate) object: Value,
    pub(crate) rollout: Rollout,
}

impl Saved {
    pub(crate) fn namespace(&self) -> &str {
        self.rollout.metadata.namespace.as_deref().unwrap_or("default")
    }

    pub(crate) fn name(&self) -> &str {
        self.rollout.metadata.name.as_deref().unwrap_or_default()
    }
}

/// All Rollouts of a folder, by namespace and name. What can't be read is complained of and left out.
///
/// Errors: [`NotFound`] when nothing was ever saved there.
pub(crate) fn all(dir: &Path) -> Result<Vec<Saved>> {
    if !dir.join(".penstock").join("state").is_dir() {
        let dir = dir.display();
        let problem = format!("nothing was ever run in {dir}");
        bail!(NotFound(format!("{problem}: run `penstock local {dir}`, or name another folder with --dir")))
    }
    let store = Store::new(&Home::at(dir)?);
    let load = |key: &Key| {
        let saved = store.load(key)?;
        Ok(saved.map(|saved| {
            saved.warning.iter().for_each(|warning| complain(warning));
            Saved { rollout: typed(&saved.object, key), object: saved.object }
        }))
    };
    let complained = |loaded: Result<_, StoreError>| {
        loaded.unwrap_or_else(|e| {
            complain(&e.to_string());
            None
        })
    };
    Ok(store.keys()?.iter().filter_map(|key| complained(load(key))).collect())
}

/// The Rollout of a name, or of `NAMESPACE/NAME`.
///
/// Errors: [`NotFound`] when there is none; also when there are several and it is not said which.
pub(crate) fn find(dir: &Path, name: &str, namespace: Option<&str>) -> Result<Saved> {
    let (namespace, name) = match name.split_once('/') {
        Some((namespace, name)) => (Some(namespace), name),
        None => (namespace, name),
    };
    let all = all(dir)?;
    let known: Vec<String> = all.iter().map(|s| format!("{}/{}", s.namespace(), s.name())).collect();
    let wanted = |s: &Saved| s.name() == name && namespace.is_none_or(|namespace| s.namespace() == namespace);
    let mut found: Vec<Saved> = all.into_iter().filter(wanted).collect();
    match (found.pop(), found.is_empty()) {
        (Some(one), true) => Ok(one),
        (Some(_), false) => bail!("several namespaces have a Rollout `{name}`: name one with --namespace"),
        (None, _) if known.is_empty() => {
            bail!(NotFound(format!("no Rollout `{name}` in {}: there is none", dir.display())))
        }
        (None, _) => bail!(NotFound(format!(
            "no Rollout `{name}` in {}; there are {}",
            dir.display(),
            known.join(", ")
        ))),
    }
}

/// A spec that is refused may have fields of wrong types; the status is to be seen all the same.
fn typed(object: &Value, key: &Key) -> Rollout {
    Rollout::deserialize(object).unwrap_or_else(|_| {
        let part = |name: &str| object.get(name).cloned().unwrap_or_default();
        let mut rollout = Rollout::new("", Default::default());
        rollout.metadata = serde_json::from_value(part("metadata")).unwrap_or_default();
        rollout.status = serde_json::from_value(part("status")).ok();
        rollout.metadata.name.get_or_insert_with(|| key.name().to_owned());
        rollout
    })
}
