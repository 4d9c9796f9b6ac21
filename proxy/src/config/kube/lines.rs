//! The lines of a watch: one event each.

use std::io;

use futures_util::{AsyncBufRead, AsyncBufReadExt};

/// Longest line. etcd stores no object of more than a few MiB.
const MAX_LINE: usize = 16 << 20;

/// A stream of bytes, line by line.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    reader: R,
    line: Vec<u8>,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    pub(crate) fn new(reader: R) -> Lines<R> {
        Lines { reader, line: Vec::new() }
    }

    /// The next line, when all of it is there; `None` at the end. A line without an end was cut off and is none.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let read = self.reader.fill_buf().await?;
            if read.is_empty() {
                return Ok(None);
            }
            let end = read.iter().position(|byte| *byte == b'\n');
            let part = &read[..end.unwrap_or(read.len())];
            if self.line.len() + part.len() > MAX_LINE {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "an event is too long"));
            }
            self.line.extend_from_slice(part);
            let used = part.len() + usize::from(end.is_some());
            self.reader.consume_unpin(used);
            if end.is_some() {
                return Ok(Some(std::mem::take(&mut self.line)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::io::BufReader;

    use super::*;

    fn lines(text: &[u8], capacity: usize) -> (Vec<Vec<u8>>, bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut lines = Lines::new(BufReader::with_capacity(capacity, text));
        let mut all = Vec::new();
        loop {
            match runtime.block_on(lines.next()) {
                Ok(Some(line)) => all.push(line),
                end => return (all, end.is_ok()),
            }
        }
    }

    #[test]
    fn lines_come_whole_however_they_are_divided() {
        for capacity in 1..12 {
            let (all, ended) = lines(b"one\n\ntwo two\ncut", capacity);
            assert_eq!(all, [&b"one"[..], b"", b"two two"], "{capacity}");
            assert!(ended);
        }
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let (all, ended) = lines(&vec![b'x'; MAX_LINE + 1], 1 << 16);
        assert_eq!((all.len(), ended), (0, false));
    }
}
