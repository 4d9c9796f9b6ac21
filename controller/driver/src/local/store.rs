//! Rollouts with their status, one file each, written so that a crash at any moment loses nothing.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::files::{self, Care, FileError};
use super::home::{Home, Key};

/// Number of a saved object: rises by one with every save. 0: never saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u64);

/// An object as it was saved.
#[derive(Clone, Debug, PartialEq)]
pub struct Saved {
    /// The whole object, status included.
    pub object: Value,
    /// Its number, to be given back when it is saved again.
    pub version: Version,
    /// What is wrong with the file, in words, when the version before had to stand in for it.
    pub warning: Option<String>,
}

/// Why an object was not saved or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else has saved in between.
    #[error("{key} was saved by somebody else: it has version {found:?}, not {expected:?}; read it again")]
    Conflict {
        /// The Rollout.
        key: Key,
        /// The version that was read before.
        expected: Version,
        /// The version that is there.
        found: Version,
    },
    /// The file is no object, and neither is the one before.
    #[error(
        "{} cannot be understood ({reason}), and no good version is left in {}: what is lost is the status of the \
         Rollout (its step and the story of its decisions), its pods and its split go on; mend the file or move it \
         away, then the split is found again from what runs", path.display(), backup.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The version before.
        backup: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// What is to be saved is no JSON object.
    #[error("{0} cannot be saved: it is no JSON object")]
    NoObject(Key),
    /// The disk refuses.
    #[error(transparent)]
    File(#[from] FileError),
}

/// The saved Rollouts of a folder.
#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
}

impl Store {
    /// The store of a folder.
    pub fn new(home: &Home) -> Store {
        Store { dir: home.state() }
    }

    /// Which Rollouts are saved.
    pub fn keys(&self) -> Result<Vec<Key>, FileError> {
        let stem = |path: PathBuf| {
            let name = path.file_name()?.to_str()?;
            Key::from_stem(name.strip_suffix(".json")?)
        };
        Ok(files::list(&self.dir, usize::MAX)?.into_iter().filter_map(stem).collect())
    }

    /// Reads a Rollout; `None`: it was never saved.
    ///
    /// Errors: [`StoreError::Damaged`] when neither its file nor the version before can be understood.
    pub fn load(&self, key: &Key) -> Result<Option<Saved>, StoreError> {
        let path = self.path(key);
        let backup = backup(&path);
        loop {
            let damage = match read(&path)? {
                Read::Good(object, version) => return Ok(Some(Saved { object, version, warning: None })),
                Read::Damaged(reason) => Some(reason),
                Read::Absent => None,
            };
            let before = read(&backup)?;
            let reason = match damage {
                Some(reason) => reason,
                // It was saved for the first time in between.
                None if path.exists() => continue,
                None if matches!(before, Read::Absent) => return Ok(None),
                None => "it is not there".to_owned(),
            };
            return match before {
                Read::Good(object, before) => Ok(Some(stand_in(&path, &reason, object, before))),
                Read::Absent | Read::Damaged(_) => Err(StoreError::Damaged { path, backup, reason }),
            };
        }
    }

    /// Saves a Rollout if it still has the version that was read, and gives it the next one.
    ///
    /// When this returns, the object withstands the death of any process. It does not wait for the disk: every turn
    /// is saved, an abort among them, and a loss of power takes the pods along anyway. Errors:
    /// [`StoreError::Conflict`] when somebody else was faster; [`StoreError::File`] when the disk refuses: the old
    /// version is intact.
    pub fn save(&self, key: &Key, object: Value, read: Version) -> Result<Version, StoreError> {
        let _lock = self.lock(key)?;
        let found = self.load(key)?.map(|saved| saved.version).unwrap_or_default();
        if found != read {
            return Err(StoreError::Conflict { key: key.clone(), expected: read, found });
        }
        let next = Version(found.0 + 1);
        let bytes = numbered(key, object, next)?;
        let path = self.path(key);
        keep_backup(&path)?;
        files::write(&path, &bytes, Care::Quick)?;
        Ok(next)
    }

    /// Forgets a Rollout.
    pub fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let _lock = self.lock(key)?;
        let path = self.path(key);
        files::remove(&backup(&path))?;
        files::remove(&path)?;
        files::sync_parent(&path)?;
        Ok(())
    }

    /// The file of a Rollout.
    pub fn path(&self, key: &Key) -> PathBuf {
        self.dir.join(format!("{}.json", key.stem()))
    }

    fn lock(&self, key: &Key) -> Result<File, FileError> {
        let path = self.dir.join(format!(".{}.lock", key.stem()));
        let fail = |source| FileError::new("lock", &path, source);
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(fail)?;
        file.lock().map_err(fail)?;
        Ok(file)
    }
}

enum Read {
    Good(Value, Version),
    Absent,
    Damaged(String),
}

fn read(path: &Path) -> Result<Read, FileError> {
    Ok(files::read(path)?.map_or(Read::Absent, |bytes| understand(&bytes)))
}

fn understand(bytes: &[u8]) -> Read {
    match serde_json::from_slice::<Value>(bytes) {
        Err(error) => Read::Damaged(format!("{error}, of {} bytes in all", bytes.len())),
        Ok(object) => match version_of(&object) {
            Some(version) => Read::Good(object, version),
            None => Read::Damaged("metadata.resourceVersion is no number".to_owned()),
        },
    }
}

fn version_of(object: &Value) -> Option<Version> {
    object.pointer("/metadata/resourceVersion")?.as_str()?.parse().ok().map(Version)
}

/// The version before, under the number of the one that is lost: who still holds that one may go on.
fn stand_in(path: &Path, reason: &str, object: Value, before: Version) -> Saved {
    let warning = format!(
        "{} cannot be understood ({reason}); the version before stands in for it, only the last save is lost",
        path.display()
    );
    Saved { object, version: Version(before.0 + 1), warning: Some(warning) }
}

fn numbered(key: &Key, mut object: Value, version: Version) -> Result<Vec<u8>, StoreError> {
    let no_object = || StoreError::NoObject(key.clone());
    let fields = object.as_object_mut().ok_or_else(no_object)?;
    let metadata = fields.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
    let metadata = metadata.as_object_mut().ok_or_else(no_object)?;
    metadata.insert("resourceVersion".to_owned(), Value::String(version.0.to_string()));
    serde_json::to_vec_pretty(&object).map_err(|_| no_object())
}

/// Keeps what is there as the version before, if it is good: a damaged file must not push out a good one. A copy, not a
/// second name: who dies before the next write leaves two files, and what damages one of them spares the other.
fn keep_backup(path: &Path) -> Result<(), FileError> {
    let Some(bytes) = files::read(path)? else { return Ok(()) };
    match understand(&bytes) {
        Read::Good(..) => files::write(&backup(path), &bytes, Care::Quick),
        Read::Absent | Read::Damaged(_) => Ok(()),
    }
}

fn backup(path: &Path) -> PathBuf {
    path.with_extension("json.bak")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;

    fn store() -> (tempfile::TempDir, Store, Key) {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(dir.path()).unwrap();
        (dir, Store::new(&home), Key::new("shop", "checkout").unwrap())
    }

    fn step(number: u32) -> Value {
        json!({"metadata": {"name": "checkout"}, "status": {"step": number}})
    }

    #[test]
    fn who_is_slower_does_not_overwrite() {
        let (_dir, store, key) = store();
        let first = store.save(&key, step(1), Version(0)).unwrap();
        store.save(&key, step(2), first).unwrap();
        let late = store.save(&key, step(9), first).unwrap_err();
        assert!(matches!(late, StoreError::Conflict { found: Version(2), .. }), "{late}");
        assert_eq!(store.load(&key).unwrap().unwrap().object["status"]["step"], 2);
    }

    #[test]
    fn of_many_writers_at_once_one_wins_each_version() {
        let (_dir, store, key) = store();
        let wins = std::sync::atomic::AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        let read = store.load(&key).unwrap().map(|s| s.version).unwrap_or_default();
                        if store.save(&key, step(1), read).is_ok() {
                            wins.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(store.load(&key).unwrap().unwrap().version, Version(wins.into_inner()));
    }

    #[test]
    fn who_looks_while_it_is_saved_for_the_first_time_sees_all_or_nothing() {
        let (_dir, store, _) = store();
        for number in 0..200 {
            let key = Key::new("shop", &format!("app-{number}")).unwrap();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let first = store.save(&key, step(1), Version(0)).unwrap();
                    store.save(&key, step(2), first).unwrap();
                });
                for _ in 0..3 {
                    scope.spawn(|| {
                        while store.load(&key).unwrap().map(|s| assert_eq!(s.warning, None)).is_none() {}
                    });
                }
            });
        }
    }

    #[test]
    fn a_state_file_cut_anywhere_loses_only_the_last_save() {
        let (_dir, store, key) = store();
        let first = store.save(&key, step(1), Version(0)).unwrap();
        let second = store.save(&key, step(2), first).unwrap();
        let whole = fs::read(store.path(&key)).unwrap();
        for length in 0..whole.len() {
            fs::write(store.path(&key), &whole[..length]).unwrap();
            let saved = store.load(&key).unwrap().unwrap();
            assert_eq!(saved.object["status"]["step"], 1, "cut at {length}");
            assert!(saved.warning.unwrap().contains("shop.checkout.json"));
            assert_eq!(saved.version, second);
        }
        store.save(&key, step(3), second).unwrap();
        let saved = store.load(&key).unwrap().unwrap();
        assert_eq!((saved.object["status"]["step"].as_u64(), saved.warning), (Some(3), None));
    }

    #[test]
    fn a_state_file_cut_after_a_death_between_both_writes_loses_nothing() {
        let (_dir, store, key) = store();
        let first = store.save(&key, step(1), Version(0)).unwrap();
        store.save(&key, step(2), first).unwrap();
        keep_backup(&store.path(&key)).unwrap();
        let whole = fs::read(store.path(&key)).unwrap();
        fs::write(store.path(&key), &whole[..whole.len() / 2]).unwrap();
        let saved = store.load(&key).unwrap().unwrap();
        assert_eq!(saved.object["status"]["step"], 2);
        store.save(&key, step(3), saved.version).unwrap();
    }

    #[test]
    fn two_damaged_files_say_what_is_lost_and_what_to_do() {
        let (_dir, store, key) = store();
        store.save(&key, step(1), Version(0)).unwrap();
        fs::write(store.path(&key), b"{\"meta").unwrap();
        let error = store.load(&key).unwrap_err().to_string();
        for part in ["shop.checkout.json", "what is lost", "move it away"] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_save_that_fails_leaves_the_old_version() {
        let (_dir, store, key) = store();
        let first = store.save(&key, step(1), Version(0)).unwrap();
        let refused = store.save(&key, json!([1]), first).unwrap_err();
        assert!(matches!(refused, StoreError::NoObject(_)));
        assert_eq!(store.load(&key).unwrap().unwrap().object["status"]["step"], 1);
        assert_eq!(store.keys().unwrap(), vec![key.clone()]);
        store.delete(&key).unwrap();
        assert!(store.load(&key).unwrap().is_none());
    }
}
