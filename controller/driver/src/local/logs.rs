//! Output of processes in files that do not grow without end.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::files::{self, FileError};
use super::home::Home;

/// Size at which a log is cut: 8 MiB.
pub const LARGEST: u64 = 8 * 1024 * 1024;
/// What is kept of it then, in a file of its own: 1 MiB.
pub const KEPT: u64 = 1024 * 1024;
/// Most logs that are kept, those of pods that are gone included.
pub const MOST: usize = 200;

/// Opens a log for a process to write to.
pub fn open(path: &Path) -> Result<File, FileError> {
    let fail = |source| FileError::new("open the log", path, source);
    cut(path, LARGEST).map_err(fail)?;
    use std::os::unix::fs::OpenOptionsExt;
    // A process that appends goes on at the new end after its log was cut.
    OpenOptions::new().append(true).create(true).mode(0o600).open(path).map_err(fail)
}

/// Cuts a log whenever it has grown too large. Never returns.
pub async fn keep_short(path: &Path) -> std::convert::Infallible {
    loop {
        tokio::time::sleep(Duration::from_secs(5)).await;
        if let Err(error) = cut(path, LARGEST) {
            tracing::warn!(path = %path.display(), %error, "cannot cut a log that has grown too large");
        }
    }
}

/// Removes the oldest logs beyond [`MOST`]. `in_use` tells those of pods that exist.
pub fn prune(home: &Home, in_use: impl Fn(&str) -> bool) -> Result<(), FileError> {
    let mut old: Vec<(SystemTime, PathBuf)> =
        files::list(&home.logs(), usize::MAX)?.into_iter().map(|path| (changed(&path), path)).collect();
    old.sort();
    let surplus = old.len().saturating_sub(MOST);
    let pod = |path: &Path| {
        path.file_name().and_then(|n| n.to_str()).and_then(|n| n.split(".log").next()).map(str::to_owned)
    };
    let unused = old.into_iter().filter(|(_, path)| !pod(path).is_some_and(|pod| in_use(&pod)));
    for (_, path) in unused.take(surplus) {
        files::remove(&path)?;
    }
    Ok(())
}

/// The last line that is not empty, at most 200 characters of it.
pub fn last_line(path: &Path) -> Option<String> {
    let tail = tail(path, 4096).ok()?;
    let text = String::from_utf8_lossy(&tail);
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty())?;
    Some(line.chars().filter(|c| !c.is_control()).take(200).collect())
}

fn cut(path: &Path, largest: u64) -> io::Result<()> {
    let size = fs::metadata(path).map(|meta| meta.len()).unwrap_or_default();
    if size <= largest {
        return Ok(());
    }
    let kept = tail(path, KEPT)?;
    File::create(path.with_extension("log.1"))?.write_all(&kept)?;
    OpenOptions::new().write(true).open(path)?.set_len(0)
}

fn tail(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(most)))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn changed(path: &Path) -> SystemTime {
    fs::metadata(path).and_then(|meta| meta.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_grows_too_large_is_cut_and_its_end_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pod.log");
        let mut log = open(&path).unwrap();
        log.write_all(&vec![b'x'; usize::try_from(LARGEST).unwrap()]).unwrap();
        log.write_all(b"\nthe end\n\n").unwrap();
        assert_eq!(last_line(&path).unwrap(), "the end");
        cut(&path, LARGEST).unwrap();
        log.write_all(b"again\n").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"again\n");
        assert_eq!(last_line(&dir.path().join("pod.log.1")).unwrap(), "the end");
        assert_eq!(fs::metadata(dir.path().join("pod.log.1")).unwrap().len(), KEPT);
    }

    #[test]
    fn logs_of_pods_that_are_gone_do_not_pile_up() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(dir.path()).unwrap();
        for n in 0..MOST + 5 {
            open(&home.logs().join(format!("pod{n:03}.log"))).unwrap();
        }
        prune(&home, |pod| pod == "pod000").unwrap();
        assert_eq!(files::list(&home.logs(), usize::MAX).unwrap().len(), MOST);
        assert!(home.logs().join("pod000.log").exists());
    }
}
