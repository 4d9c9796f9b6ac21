//! Files that are there whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Largest file that is read: 4 MiB.
pub const LARGEST: u64 = 4 * 1024 * 1024;

/// How much a write must withstand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Care {
    /// The death of any process.
    Quick,
    /// The loss of power too.
    Durable,
}

/// What could not be done to which file, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {}{}", path.display(), remedy(source))]
pub struct FileError {
    operation: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl FileError {
    /// Names the operation and the file.
    pub fn new(operation: &'static str, path: &Path, source: io::Error) -> FileError {
        FileError { operation, path: path.to_owned(), source }
    }

    /// The kind of the cause.
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }
}

fn remedy(source: &io::Error) -> &'static str {
    match source.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
        Some(rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT) => {
            ": its disk is full; what was written before is intact; free some space, it is tried again"
        }
        Some(rustix::io::Errno::FBIG) => {
            ": the limit on file sizes is too low (`ulimit -f`); raise it, what was written before is intact"
        }
        Some(rustix::io::Errno::ROFS) => ": its disk is read-only; mount it for writing",
        Some(rustix::io::Errno::ACCESS | rustix::io::Errno::PERM) => {
            ": permission denied; check its owner and mode"
        }
        Some(rustix::io::Errno::NOENT) => ": it does not exist",
        _ => "",
    }
}

/// Makes a folder and those above it. Others may not look into it: manifests carry secrets.
pub fn make_dir(path: &Path) -> Result<(), FileError> {
    use std::os::unix::fs::DirBuilderExt;
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| FileError::new("make the folder", path, source))
}

/// Puts `bytes` in place of whatever the file held. A reader sees the old or the new, never a part.
///
/// The folder must exist. The temporary name begins with a dot, so that no watcher takes it for a file.
pub fn write(path: &Path, bytes: &[u8], care: Care) -> Result<(), FileError> {
    let temporary = temporary(path);
    let done = write_new(&temporary, bytes, care).and_then(|()| fs::rename(&temporary, path));
    if let Err(source) = done {
        let _ = fs::remove_file(&temporary);
        return Err(FileError::new("write", path, source));
    }
    if care == Care::Durable { sync_parent(path) } else { Ok(()) }
}

/// Reads a file of at most [`LARGEST`] bytes. `None`: there is none.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    let fail = |source| FileError::new("read", path, source);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(gone) if gone.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(fail(source)),
    };
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > LARGEST {
        return Err(fail(io::Error::other(format!("it is larger than {LARGEST} bytes"))));
    }
    Ok(Some(bytes))
}

/// Removes a file; that it is gone already is no error. `true`: it was there.
pub fn remove(path: &Path) -> Result<bool, FileError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(gone) if gone.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(FileError::new("remove", path, source)),
    }
}

/// The files of a folder that are no dot files, by name, at most `most`. A folder that is not there is empty.
pub fn list(dir: &Path, most: usize) -> Result<Vec<PathBuf>, FileError> {
    let fail = |source| FileError::new("list", dir, source);
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(gone) if gone.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(fail(source)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry.map_err(fail)?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            paths.push(entry.path());
        }
    }
    paths.sort();
    paths.truncate(most);
    Ok(paths)
}

/// Removes what writes have left behind that were cut off more than a minute ago.
pub fn tidy(dir: &Path) -> Result<(), FileError> {
    const OLD: Duration = Duration::from_secs(60);
    let fail = |source| FileError::new("list", dir, source);
    for entry in fs::read_dir(dir).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let name = entry.file_name();
        let ours = name.as_encoded_bytes().starts_with(b".") && name.as_encoded_bytes().ends_with(b".tmp");
        let changed = entry.metadata().and_then(|meta| meta.modified());
        let old = changed.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > OLD));
        if ours && old {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// Makes the names in a file's folder durable.
pub fn sync_parent(path: &Path) -> Result<(), FileError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|source| FileError::new("sync", dir, source))
}

/// A name beside the file that nobody else uses and that begins with a dot.
fn temporary(path: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    path.with_file_name(format!(".{name}.{}-{number}.tmp", std::process::id()))
}

fn write_new(path: &Path, bytes: &[u8], care: Care) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    if care == Care::Durable { file.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_fails_leaves_the_old_text_and_no_rubbish() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("taken");
        fs::create_dir(&path).unwrap();
        let error = write(&path, b"new", Care::Durable).unwrap_err();
        assert!(error.to_string().contains("taken"), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_a_cut_off_write_left_is_removed_later_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let hour_ago = std::time::SystemTime::now() - Duration::from_secs(3_600);
        for (name, old) in
            [(".a.json.1-0.tmp", true), (".b.json.1-0.tmp", false), (".lock", true), ("c.tmp", true)]
        {
            let file = File::create(dir.path().join(name)).unwrap();
            if old {
                file.set_modified(hour_ago).unwrap();
            }
        }
        tidy(dir.path()).unwrap();
        let mut left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, [".b.json.1-0.tmp", ".lock", "c.tmp"]);
    }

    #[test]
    fn what_is_not_there_is_no_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read(&dir.path().join("x")).unwrap().is_none());
        assert!(!remove(&dir.path().join("x")).unwrap());
        assert!(list(&dir.path().join("x"), 9).unwrap().is_empty());
    }

    #[test]
    fn a_full_disk_is_named_with_its_remedy() {
        let full = FileError::new("write", Path::new("a"), io::Error::from_raw_os_error(28));
        assert!(full.to_string().contains("disk is full"), "{full}");
    }
}
