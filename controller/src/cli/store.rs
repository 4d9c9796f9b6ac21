//! The Rollouts of a folder as they were saved last, for reading only.

use std::path::Path;

use anyhow::{Result, bail};
use penstock_driver::local::store::{Store, StoreError};
use penstock_driver::local::{Home, Key};

use super::called;
use super::paint::complain;
use super::place::{NotFound, Saved, nearest};

/// All Rollouts of a folder, by namespace and name. What can't be read is complained of and left out.
///
/// Errors: [`NotFound`] when nothing was ever saved there.
pub(crate) fn all(dir: &Path) -> Result<Vec<Saved>> {
    if !dir.join(".penstock").join("state").is_dir() {
        let (dir, me) = (dir.display(), called::name());
        let problem = format!("nothing was ever run in {dir}");
        bail!(NotFound(format!("{problem}: run `{me} local {dir}`, or name another folder with --dir")))
    }
    let store = Store::new(&Home::at(dir)?);
    let load = |key: &Key| {
        let saved = store.load(key)?;
        Ok(saved.map(|saved| {
            saved.warning.iter().for_each(|warning| complain(warning));
            named(Saved::new(saved.object), key)
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
    let names: Vec<String> = all.iter().map(|s| s.name().to_owned()).collect();
    let wanted = |s: &Saved| s.name() == name && namespace.is_none_or(|namespace| s.namespace() == namespace);
    let mut found: Vec<Saved> = all.into_iter().filter(wanted).collect();
    match (found.pop(), found.is_empty()) {
        (Some(one), true) => Ok(one),
        (Some(_), false) => bail!("several namespaces have a Rollout `{name}`: name one with --namespace"),
        (None, _) if known.is_empty() => {
            bail!(NotFound(format!("no Rollout `{name}` in {}: there is none", dir.display())))
        }
        (None, _) => {
            let meant = nearest(name, names.iter().map(String::as_str)).filter(|near| *near != name);
            let meant = meant.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            let (dir, known) = (dir.display(), known.join(", "));
            bail!(NotFound(format!("no Rollout `{name}` in {dir}; there are {known}{meant}")))
        }
    }
}

/// A file that was damaged by hand is known by its own name at least.
fn named(mut saved: Saved, key: &Key) -> Saved {
    saved.rollout.metadata.name.get_or_insert_with(|| key.name().to_owned());
    saved
}
