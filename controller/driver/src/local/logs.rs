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

/// Longest piece of a line that is read at once, in bytes.
const LINE: usize = 64 * 1024;

/// Reads the lines of a log as it grows.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    at: u64,
    line: Vec<u8>,
}

impl Reader {
    /// Begins with the last so many lines; `None`: with the first one. Nothing is read yet.
    pub fn open(path: &Path, tail: Option<u32>) -> Result<Reader, FileError> {
        let told = |source| FileError::new("read the log", path, source);
        let at = tail.map_or(Ok(0), |lines| begin(path, lines)).map_err(told)?;
        Ok(Reader { path: path.to_owned(), at, line: Vec::new() })
    }

    /// Tells each line that has come since. What [`keep_short`] has taken away is passed over.
    pub fn read<E: From<FileError>>(&mut self, say: &mut dyn FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let told = |source| E::from(FileError::new("read the log", &self.path, source));
        let mut file = File::open(&self.path).map_err(told)?;
        let length = file.metadata().map_err(told)?.len();
        if length < self.at {
            (self.at, self.line) = (length, Vec::new());
        }
        file.seek(SeekFrom::Start(self.at)).map_err(told)?;
        let mut buffer = vec![0; LINE];
        loop {
            let read = file.read(&mut buffer).map_err(told)?;
            if read == 0 {
                return Ok(());
            }
            self.at += read as u64;
            for piece in buffer[..read].split_inclusive(|byte| *byte == b'\n') {
                let whole = piece.strip_suffix(b"\n");
                self.line.extend_from_slice(whole.unwrap_or(piece));
                if whole.is_some() || self.line.len() >= LINE {
                    say(&std::mem::take(&mut self.line))?;
                }
            }
        }
    }
}

/// Where the last so many lines begin, within what is kept of a log.
fn begin(path: &Path, lines: u32) -> std::io::Result<u64> {
    let tail = tail(path, KEPT)?;
    let length = std::fs::metadata(path)?.len();
    let mut ends = tail.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at);
    // The end of the last line ends no line before it.
    let skipped =
        usize::from(tail.ends_with(b"\n")) + usize::try_from(lines).unwrap_or(usize::MAX).saturating_sub(1);
    let from = if lines == 0 { tail.len() } else { ends.nth(skipped).map_or(0, |at| at + 1) };
    Ok(length.saturating_sub((tail.len() - from) as u64))
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
    fn a_reader_begins_with_the_last_lines_and_goes_on_across_a_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pod.log");
        fs::write(&path, "one\ntwo\nthree\n").unwrap();
        let mut reader = Reader::open(&path, Some(2)).unwrap();
        let lines = |reader: &mut Reader| {
            let mut told = Vec::new();
            let take = &mut |line: &[u8]| -> Result<(), FileError> {
                told.push(String::from_utf8_lossy(line).into_owned());
                Ok(())
            };
            reader.read(take).unwrap();
            told
        };
        assert_eq!(lines(&mut reader), ["two", "three"]);
        let append = |text: &str| open(&path).unwrap().write_all(text.as_bytes()).unwrap();
        append("fo");
        assert!(lines(&mut reader).is_empty(), "half a line waits");
        append("ur\n");
        assert_eq!(lines(&mut reader), ["four"]);
        fs::write(&path, "").unwrap();
        assert!(lines(&mut reader).is_empty());
        append("five\n");
        assert_eq!(lines(&mut reader), ["five"]);
        for (tail, expected) in [(Some(0), 0), (Some(1), 1), (Some(9), 1), (None, 1)] {
            assert_eq!(lines(&mut Reader::open(&path, tail).unwrap()).len(), expected, "{tail:?}");
        }
        fs::write(&path, vec![b'x'; 3 * LINE]).unwrap();
        let long = lines(&mut Reader::open(&path, None).unwrap());
        assert!(
            long.iter().all(|line| line.len() <= 2 * LINE) && !long.is_empty(),
            "a line without end is told in pieces"
        );
    }

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
