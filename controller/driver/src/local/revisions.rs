//! Pod templates of the revisions that are kept, with the number of pods that is asked for.

use std::collections::BTreeMap;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::PodTemplateSpec;
use penstock_core::revision::Revision;
use penstock_core::split::Generation;
use penstock_core::time::Time;
use serde::{Deserialize, Serialize};

use super::files::{self, Care, FileError};
use super::home::{Home, Key};

/// A revision that is kept: what a ReplicaSet is on a cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// What its pods are.
    pub template: PodTemplateSpec,
    /// When it was made; orders the history.
    pub created: Time,
    /// What its pods speak: `kubernetes.io/h2c`; HTTP/1.1 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_protocol: Option<String>,
    /// How many pods are asked for.
    #[serde(default)]
    pub replicas: u32,
    /// The split that this was decided with.
    #[serde(default)]
    pub generation: Generation,
}

/// How many pods are asked for, and by which decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// How many.
    pub replicas: u32,
    /// The split that this was decided with.
    pub generation: Generation,
}

/// What a revision is made of where it is not kept yet. It never changes from then on.
#[derive(Clone, Debug, PartialEq)]
pub struct New {
    /// What its pods are.
    pub template: PodTemplateSpec,
    /// When it is made.
    pub created: Time,
    /// What its pods speak.
    pub app_protocol: Option<String>,
}

/// The kept revisions of a Rollout, and the files that could not be understood.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listed {
    /// By name.
    pub revisions: BTreeMap<Revision, Kept>,
    /// What is wrong, in words: their pods are to be left alone.
    pub problems: Vec<(Revision, String)>,
}

/// The kept revisions of a folder.
#[derive(Clone, Debug)]
pub struct Revisions {
    dir: PathBuf,
}

impl Revisions {
    /// The kept revisions of a folder.
    pub fn new(home: &Home) -> Revisions {
        Revisions { dir: home.revisions() }
    }

    /// Rollouts of which revisions are kept.
    pub fn keys(&self) -> Result<Vec<Key>, FileError> {
        let paths = files::list(&self.dir, usize::MAX)?;
        Ok(paths.iter().filter_map(|path| Key::from_stem(path.file_name()?.to_str()?)).collect())
    }

    /// Keeps a revision, durably.
    pub fn put(&self, key: &Key, revision: &Revision, kept: &Kept) -> Result<(), FileError> {
        files::make_dir(&self.folder(key))?;
        let path = self.path(key, revision);
        let bytes = serde_json::to_vec_pretty(kept).map_err(|e| FileError::new("write", &path, e.into()))?;
        files::write(&path, &bytes, Care::Durable)
    }

    /// One revision. `None`: it is not kept. Errors: it is, and cannot be understood.
    pub fn get(&self, key: &Key, revision: &Revision) -> Result<Option<Kept>, FileError> {
        let path = self.path(key, revision);
        let Some(bytes) = files::read(&path)? else { return Ok(None) };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| FileError::new("understand", &path, error.into()))
    }

    /// Asks for so many pods of a revision, unless a later decision has spoken already; keeps it with `new` where it
    /// is not kept. Returns what is kept then; `None`: it is not, and no template was given.
    pub fn scale(
        &self,
        key: &Key,
        revision: &Revision,
        target: Target,
        new: Option<New>,
    ) -> Result<Option<Kept>, FileError> {
        let Target { replicas, generation } = target;
        let kept = self.get(key, revision)?;
        let known = kept.is_some();
        let made = |New { template, created, app_protocol }| Kept {
            template,
            created,
            app_protocol,
            replicas,
            generation,
        };
        let Some(mut kept) = kept.or_else(|| new.map(made)) else { return Ok(None) };
        let same = (kept.replicas, kept.generation) == (replicas, generation);
        if known && (same || kept.generation > generation) {
            return Ok(Some(kept));
        }
        (kept.replicas, kept.generation) = (replicas, generation);
        self.put(key, revision, &kept)?;
        Ok(Some(kept))
    }

    /// Forgets a revision, unless a later decision has spoken already. `true`: it is gone.
    pub fn delete(&self, key: &Key, revision: &Revision, generation: Generation) -> Result<bool, FileError> {
        let stale = matches!(self.get(key, revision), Ok(Some(kept)) if kept.generation > generation);
        if !stale {
            self.remove(key, revision)?;
        }
        Ok(!stale)
    }

    /// All kept revisions of a Rollout.
    pub fn list(&self, key: &Key) -> Result<Listed, FileError> {
        let mut listed = Listed::default();
        for path in files::list(&self.folder(key), usize::MAX)? {
            let name = path.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_suffix(".json"));
            let Some(revision) = name.and_then(|n| Revision::new(n).ok()) else { continue };
            let Some(bytes) = files::read(&path)? else { continue };
            match serde_json::from_slice(&bytes) {
                Ok(kept) => drop(listed.revisions.insert(revision, kept)),
                Err(error) => listed.problems.push((revision, damaged(&path, &error))),
            }
        }
        Ok(listed)
    }

    /// Forgets a revision.
    pub fn remove(&self, key: &Key, revision: &Revision) -> Result<(), FileError> {
        files::remove(&self.path(key, revision))?;
        // Fails while another revision is kept there, as it should.
        let _ = std::fs::remove_dir(self.folder(key));
        Ok(())
    }

    fn folder(&self, key: &Key) -> PathBuf {
        self.dir.join(key.stem())
    }

    fn path(&self, key: &Key, revision: &Revision) -> PathBuf {
        self.folder(key).join(format!("{revision}.json"))
    }
}

fn damaged(path: &std::path::Path, error: &serde_json::Error) -> String {
    format!(
        "{} cannot be understood ({error}); pods of this revision go on running but cannot be started anew: apply \
         the template again, or remove the file to give the revision up",
        path.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_template_is_reported_and_the_others_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(dir.path()).unwrap();
        let revisions = Revisions::new(&home);
        let key = Key::new("shop", "checkout").unwrap();
        let kept = Kept {
            template: PodTemplateSpec::default(),
            created: Time(7),
            app_protocol: None,
            replicas: 2,
            generation: Generation(1),
        };
        let (good, bad) = (Revision::new("good").unwrap(), Revision::new("bad").unwrap());
        revisions.put(&key, &good, &kept).unwrap();
        revisions.put(&key, &bad, &kept).unwrap();
        std::fs::write(revisions.path(&key, &bad), b"{\"templ").unwrap();
        let listed = revisions.list(&key).unwrap();
        assert_eq!(listed.revisions, BTreeMap::from([(good.clone(), kept)]));
        assert!(listed.problems[0].1.contains("bad.json"), "{:?}", listed.problems);
        revisions.remove(&key, &bad).unwrap();
        revisions.remove(&key, &good).unwrap();
        assert!(revisions.keys().unwrap().is_empty());
    }

    #[test]
    fn a_decision_that_comes_late_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let revisions = Revisions::new(&Home::open(dir.path()).unwrap());
        let (key, revision) = (Key::new("shop", "checkout").unwrap(), Revision::new("5c6b7").unwrap());
        let target = |replicas, generation| Target { replicas, generation: Generation(generation) };
        assert_eq!(revisions.scale(&key, &revision, target(2, 5), None).unwrap(), None);
        let new = Some(New { template: PodTemplateSpec::default(), created: Time(7), app_protocol: None });
        assert_eq!(revisions.scale(&key, &revision, target(2, 5), new).unwrap().unwrap().replicas, 2);
        assert_eq!(revisions.scale(&key, &revision, target(0, 4), None).unwrap().unwrap().replicas, 2);
        assert!(!revisions.delete(&key, &revision, Generation(4)).unwrap());
        assert_eq!(revisions.scale(&key, &revision, target(3, 6), None).unwrap().unwrap().replicas, 3);
        assert_eq!(revisions.get(&key, &revision).unwrap().unwrap().generation, Generation(6));
        assert!(revisions.delete(&key, &revision, Generation(6)).unwrap());
        assert_eq!(revisions.get(&key, &revision).unwrap(), None);
    }
}
