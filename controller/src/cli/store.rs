//! The Rollouts of a folder as they were saved last, for reading only.

use std::fs;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use penstock_crds::Rollout;
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
    let state = dir.join(".penstock").join("state");
    let entries = match fs::read_dir(&state) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let problem = format!("nothing was ever run in {}", dir.display());
            bail!(NotFound(format!(
                "{problem}: run `penstock local {0}`, or name another folder with --dir",
                dir.display()
            )))
        }
        entries => entries.with_context(|| format!("can't list {}", state.display()))?,
    };
    let mut files = Vec::new();
    for entry in entries {
        files.push(entry.with_context(|| format!("can't list {}", state.display()))?.path());
    }
    files.retain(|file| is_state(file));
    files.sort();
    let saved =
        files.iter().filter_map(|file| load(file).map_err(|error| complain(&format!("{error:#}"))).ok());
    Ok(saved.collect())
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

fn is_state(file: &Path) -> bool {
    let hidden = file.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    !hidden && file.extension().is_some_and(|extension| extension == "json")
}

/// Reads a file; the version before stands in for one that is damaged.
fn load(file: &Path) -> Result<Saved> {
    read(file).or_else(|error| {
        let before = read(&file.with_extension("json.bak")).map_err(|_| error)?;
        complain(&format!("{} is damaged: this is the version before", file.display()));
        Ok(before)
    })
}

/// No state is larger; what is, is none.
const MOST: u64 = 16 * 1024 * 1024;

fn read(file: &Path) -> Result<Saved> {
    let name = || format!("can't read {}", file.display());
    let mut bytes = Vec::new();
    fs::File::open(file).with_context(name)?.take(MOST).read_to_end(&mut bytes).with_context(name)?;
    let object: Value = serde_json::from_slice(&bytes).with_context(name)?;
    let rollout = typed(&object, file);
    Ok(Saved { object, rollout })
}

/// A spec that is refused may have fields of wrong types; the status is to be seen all the same.
fn typed(object: &Value, file: &Path) -> Rollout {
    Rollout::deserialize(object).unwrap_or_else(|_| {
        let part = |name: &str| object.get(name).cloned().unwrap_or_default();
        let mut rollout = Rollout::new("", Default::default());
        rollout.metadata = serde_json::from_value(part("metadata")).unwrap_or_default();
        rollout.status = serde_json::from_value(part("status")).ok();
        let stem = || file.file_stem().map(PathBuf::from).unwrap_or_default().display().to_string();
        rollout.metadata.name.get_or_insert_with(stem);
        rollout
    })
}
