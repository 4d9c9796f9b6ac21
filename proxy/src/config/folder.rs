//! The folder of files: reads what has changed, keeps what was good last.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::contents::{ByName, Contents, file_name};
use super::object::{Id, Parsed, parse};
use super::watch::Look;

const MAX_FILES: usize = 20_000;
const MAX_SIZE: u64 = 4 << 20;
/// A file that changed so short a time before it was read may change again without a trace in its times.
const RACY: Duration = Duration::from_secs(2);

/// The folder as it was read last.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    files: BTreeMap<PathBuf, File>,
    problem: Option<String>,
}

#[derive(Debug, Default)]
struct File {
    mark: Mark,
    parsed: Parsed,
    /// Why the file as it stands can't be used.
    problem: Option<String>,
}

/// Tells whether a file has to be read again.
#[derive(Debug, Default, PartialEq, Eq)]
struct Mark {
    inode: u64,
    size: u64,
    modified: i128,
    racy: bool,
}

impl Folder {
    /// Nothing has been read yet.
    pub(crate) fn new(path: PathBuf) -> Folder {
        Folder { path, files: BTreeMap::new(), problem: None }
    }

    /// Reads what has changed. Returns whether anything differs from before.
    pub(crate) fn look(&mut self, look: &Look) -> bool {
        let Look { only, touched, written } = look;
        if !only || self.problem.is_some() || !touched.iter().all(|path| self.is_plain(path)) {
            return self.scan(touched, written);
        }
        let files = touched.iter().filter(|path| is_config(path) && !written.contains(*path));
        let changed = files.map(|path| self.read_one(path)).filter(|changed| *changed);
        changed.count() > 0
    }

    /// Whether a change at this path can mean nothing but this file: a file like `.name` is a draft, but behind what
    /// begins with two dots whole folders are exchanged at once.
    fn is_plain(&self, path: &Path) -> bool {
        let name = file_name(path);
        let draft = name.starts_with('.') && !name.starts_with("..");
        path.parent() == Some(&self.path) && (draft || is_config(path))
    }

    fn read_one(&mut self, path: &Path) -> bool {
        if !path.is_file() {
            return self.files.remove(path).is_some();
        }
        if self.files.len() >= MAX_FILES && !self.files.contains_key(path) {
            return false;
        }
        self.files.entry(path.into()).or_default().refresh(path, true)
    }

    /// Looks at all there is. What is `touched` is read in any case, and not what is being `written`.
    pub(crate) fn scan(&mut self, touched: &BTreeSet<PathBuf>, written: &BTreeSet<PathBuf>) -> bool {
        let listed = match list(&self.path) {
            Ok(listed) => listed,
            Err(error) => {
                let problem =
                    format!("{}: {error}; what was read before stays in effect", self.path.display());
                return self.problem.replace(problem.clone()) != Some(problem);
            }
        };
        let mut changed = self.problem.take().is_some();
        let before = self.files.len();
        self.files.retain(|path, _| listed.contains(path) || written.contains(path));
        changed |= before != self.files.len();
        for path in listed.into_iter().filter(|path| !written.contains(path)) {
            changed |= self.files.entry(path.clone()).or_default().refresh(&path, touched.contains(&path));
        }
        changed
    }

    /// What is in the folder. Of an object in several files, the one in the first file.
    pub(crate) fn contents(&self) -> Contents<'_> {
        let mut contents = Contents::default();
        contents.problems.extend(self.problem.clone());
        let mut found: ByName<&Id, &Path> = ByName::default();
        for (path, file) in &self.files {
            let name = file_name(path);
            let problems = file.parsed.problems.iter().chain(&file.problem);
            contents.problems.extend(problems.map(|problem| format!("{name}: {problem}")));
            for (id, object) in &file.parsed.objects {
                match found.entry(id) {
                    Entry::Occupied(first) => contents.problems.push(format!(
                        "{name}: {id}: stands in {}, too, which counts; remove one of them",
                        file_name(first.get())
                    )),
                    Entry::Vacant(place) => {
                        place.insert(path);
                        contents.objects.push((id, path, object));
                    }
                }
            }
        }
        contents
    }
}

fn list(folder: &Path) -> io::Result<BTreeSet<PathBuf>> {
    let mut paths = BTreeSet::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if is_config(&path) && path.is_file() && paths.len() < MAX_FILES {
            paths.insert(path);
        }
    }
    Ok(paths)
}

fn is_config(path: &Path) -> bool {
    let hidden = file_name(path).starts_with('.');
    !hidden && path.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json")
}

impl File {
    fn refresh(&mut self, path: &Path, touched: bool) -> bool {
        let Ok(metadata) = fs::metadata(path) else { return false };
        let mark = Mark::new(&metadata);
        if mark == self.mark && !mark.racy && !touched {
            return false;
        }
        self.mark = mark;
        match read(path, metadata.len()).and_then(|text| parse(&text)) {
            Ok(parsed) => self.replace(parsed),
            Err(problem) => {
                let problem = format!("{problem}; its last good objects stay in effect");
                self.problem.replace(problem.clone()) != Some(problem)
            }
        }
    }

    /// Takes what is good; of an object that is broken, keeps what it was before.
    fn replace(&mut self, mut parsed: Parsed) -> bool {
        let kept = self.parsed.objects.iter().filter(|(id, _)| parsed.broken.contains(id)).cloned();
        let kept: Vec<_> = kept.collect();
        parsed.objects.extend(kept);
        let changed = parsed != self.parsed;
        if changed {
            // What is the same stays where it is: then nobody has to compare it again.
            self.parsed = parsed;
        }
        self.problem.take().is_some() || changed
    }
}

impl Mark {
    fn new(metadata: &Metadata) -> Mark {
        let age = metadata.modified().ok().and_then(|m| SystemTime::now().duration_since(m).ok());
        Mark {
            inode: metadata.ino(),
            size: metadata.len(),
            modified: i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec()),
            racy: age.is_none_or(|age| age < RACY),
        }
    }
}

fn read(path: &Path, size: u64) -> Result<String, String> {
    if size > MAX_SIZE {
        return Err(format!("is larger than {MAX_SIZE} bytes; divide it into several files"));
    }
    let mut text = String::new();
    let file = fs::File::open(path).map_err(|e| format!("can't be opened: {e}; correct its permissions"))?;
    file.take(MAX_SIZE).read_to_string(&mut text).map_err(|e| format!("can't be read: {e}"))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {clusterIP: 10.0.0.1}\n";

    fn scan(folder: &mut Folder) -> bool {
        folder.scan(&BTreeSet::new(), &BTreeSet::new())
    }

    #[test]
    fn a_half_written_file_keeps_its_last_good_objects() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.yaml");
        let mut folder = Folder::new(dir.path().into());
        fs::write(&file, SERVICE).unwrap();
        assert!(scan(&mut folder));
        for half in ["", "kind: [", "kind: Service\napiVersion: v1\nmetadata: {name: a}\nspec: 7"] {
            fs::write(&file, half).unwrap();
            assert!(scan(&mut folder), "{half:?}");
            let contents = folder.contents();
            assert_eq!(contents.objects.len(), 1, "{half:?}");
            assert!(contents.problems[0].starts_with("a.yaml: "), "{contents:?}");
        }
        fs::write(&file, SERVICE).unwrap();
        assert!(scan(&mut folder));
        assert!(folder.contents().problems.is_empty());
        fs::remove_file(&file).unwrap();
        assert!(scan(&mut folder));
        assert!(folder.contents().objects.is_empty());
    }

    #[test]
    fn a_change_that_is_told_is_read_alone_and_what_is_exchanged_at_once_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let told = |names: &[&str]| Look {
            only: true,
            touched: names.iter().map(|n| at(n)).collect(),
            ..Look::default()
        };
        let mut folder = Folder::new(dir.path().into());
        for name in ["a", "b"] {
            let text = SERVICE.replace("name: a", &format!("name: {name}"));
            fs::write(at(&format!("{name}.yaml")), text).unwrap();
        }
        assert!(folder.look(&told(&["a.yaml"])));
        assert_eq!(folder.contents().objects.len(), 1);
        assert!(folder.look(&told(&["..data"])));
        assert_eq!(folder.contents().objects.len(), 2);
        assert!(!folder.look(&told(&["a.yaml", ".a.yaml.draft"])), "it is as it was");
        fs::remove_file(at("a.yaml")).unwrap();
        assert!(folder.look(&told(&["a.yaml"])));
        assert_eq!(folder.contents().objects.len(), 1);
    }

    #[test]
    fn the_first_of_two_files_with_one_object_counts() {
        let dir = tempfile::tempdir().unwrap();
        let mut folder = Folder::new(dir.path().into());
        for name in ["b.yaml", "a.yml", ".hidden.yaml", "notes.txt"] {
            fs::write(dir.path().join(name), SERVICE).unwrap();
        }
        scan(&mut folder);
        let contents = folder.contents();
        assert!(contents.objects.iter().all(|(_, path, _)| path.ends_with("a.yml")));
        assert_eq!(
            contents.problems,
            ["b.yaml: Service default/a: stands in a.yml, too, which counts; remove one of them"]
        );
    }

    #[test]
    fn a_folder_that_vanishes_changes_nothing_but_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.yaml"), SERVICE).unwrap();
        let mut folder = Folder::new(dir.path().into());
        scan(&mut folder);
        drop(dir);
        assert!(scan(&mut folder));
        assert_eq!((folder.contents().objects.len(), folder.contents().problems.len()), (1, 1));
        assert!(!scan(&mut folder), "and not twice");
    }
}
