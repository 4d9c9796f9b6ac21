//! What waits to be written.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

use super::frame::head;

/// What is larger is not copied.
const COPIED: usize = 2 << 10;
/// Most memory that is kept while nothing waits.
const KEPT: usize = 4 << 10;
/// Most pieces that are written at once.
const MAX_SLICES: usize = 16;

/// Bytes in the order in which they go.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// What goes first.
    pieces: VecDeque<Bytes>,
    /// What goes then, and how much of it has gone.
    tail: Vec<u8>,
    gone: usize,
    length: usize,
}

impl Outgoing {
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// A frame.
    pub(super) fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.bytes(&head(payload.len(), kind, flags, stream));
        self.bytes(payload);
    }

    /// A frame of a body.
    pub(super) fn data(&mut self, flags: u8, stream: u32, data: Bytes) {
        self.bytes(&head(data.len(), super::frame::kind::DATA, flags, stream));
        if data.len() <= COPIED {
            return self.bytes(&data);
        }
        self.length += data.len();
        let mut tail = std::mem::take(&mut self.tail);
        tail.drain(..self.gone);
        self.gone = 0;
        self.pieces.push_back(tail.into());
        self.pieces.push_back(data);
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.length += bytes.len();
        self.tail.extend_from_slice(bytes);
    }

    /// What goes first, if that is one piece.
    pub(super) fn whole(&self) -> Option<&[u8]> {
        self.pieces.is_empty().then(|| &self.tail[self.gone..])
    }

    /// What goes first, in as many pieces as fit.
    pub(super) fn slices(&self) -> Vec<IoSlice<'_>> {
        let tail = &self.tail[self.gone..];
        let all = self.pieces.iter().map(|piece| &piece[..]).chain([tail]);
        all.filter(|piece| !piece.is_empty()).take(MAX_SLICES).map(IoSlice::new).collect()
    }

    /// So many have been written.
    pub(super) fn consume(&mut self, mut count: usize) {
        self.length = self.length.saturating_sub(count);
        while let Some(first) = self.pieces.front_mut() {
            if count < first.len() {
                return first.advance(count);
            }
            count -= first.len();
            self.pieces.pop_front();
        }
        self.gone = (self.gone + count).min(self.tail.len());
        if self.gone == self.tail.len() {
            self.tail.clear();
            self.tail.shrink_to(KEPT);
            self.gone = 0;
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Outgoing::default();
    }
}
