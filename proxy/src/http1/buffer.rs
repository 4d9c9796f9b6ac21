//! Memory for bytes on their way: one store for each thread, from which connections borrow while they have any.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::{io, pin::Pin};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

/// Size of a buffer in bytes: a body of 16 KiB comes at once with its head.
pub(crate) const SMALL: usize = 20 << 10;
/// Size of one for a long body, or a large head.
pub(crate) const LARGE: usize = 64 << 10;
/// Most large buffers that are lent for bodies at a time: slow readers are many, memory is not.
const MAX_LARGE: usize = 128;
/// Most buffers of each kind that are kept for the next one who asks.
const MAX_KEPT: usize = 32;
/// Most outgoing heads that are kept.
const MAX_HEADS_KEPT: usize = 128;
/// Largest capacity of an outgoing head that is kept.
const MAX_HEAD_KEPT: usize = 8 << 10;

/// A thread's buffers.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    small: RefCell<Vec<Vec<u8>>>,
    large: RefCell<Vec<Vec<u8>>>,
    heads: RefCell<Vec<Vec<u8>>>,
    lent: Cell<usize>,
}

impl Buffers {
    /// An empty one, for a head.
    pub(crate) fn head(&self) -> Vec<u8> {
        self.heads.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(1024))
    }

    /// Takes one back.
    pub(crate) fn give_head(&self, mut head: Vec<u8>) {
        let mut heads = self.heads.borrow_mut();
        if (1..=MAX_HEAD_KEPT).contains(&head.capacity()) && heads.len() < MAX_HEADS_KEPT {
            head.clear();
            heads.push(head);
        }
    }

    fn take(&self, large: bool) -> Vec<u8> {
        let (store, size) = if large { (&self.large, LARGE) } else { (&self.small, SMALL) };
        if large {
            self.lent.set(self.lent.get() + 1);
        }
        store.borrow_mut().pop().unwrap_or_else(|| vec![0; size])
    }

    fn give(&self, buffer: Vec<u8>) {
        let store = match buffer.len() {
            SMALL => &self.small,
            LARGE => {
                self.lent.set(self.lent.get().saturating_sub(1));
                &self.large
            }
            _ => return,
        };
        let mut store = store.borrow_mut();
        if store.len() < MAX_KEPT {
            store.push(buffer);
        }
    }
}

/// Bytes that have been read and not been used. Borrows a buffer while there are any.
#[derive(Debug)]
pub(crate) struct Inlet {
    buffers: Rc<Buffers>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Inlet {
    pub(crate) fn new(buffers: &Rc<Buffers>) -> Inlet {
        Inlet { buffers: Rc::clone(buffers), buffer: Vec::new(), start: 0, end: 0 }
    }

    /// What there is.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Whether more could be read.
    pub(crate) fn has_room(&self) -> bool {
        self.buffer.is_empty() || self.end - self.start < self.buffer.len()
    }

    /// The first bytes have been used.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
        if self.is_empty() {
            self.give_back();
        }
    }

    /// Gives the buffer back, whatever is in it.
    pub(crate) fn give_back(&mut self) {
        if !self.buffer.is_empty() {
            self.buffers.give(std::mem::take(&mut self.buffer));
        }
        (self.start, self.end) = (0, 0);
    }

    /// Makes room for a large head.
    pub(crate) fn grow(&mut self) {
        if self.buffer.len() < LARGE {
            self.move_to(self.buffers.take(true));
        }
    }

    fn move_to(&mut self, mut buffer: Vec<u8>) {
        let bytes = self.bytes();
        let length = bytes.len();
        buffer[..length].copy_from_slice(bytes);
        self.give_back();
        (self.buffer, self.start, self.end) = (buffer, 0, length);
    }

    /// Reads what there is to read, if there is room. 0: the stream has ended. `long`: much is expected.
    pub(crate) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut TcpStream,
        long: bool,
    ) -> Poll<io::Result<usize>> {
        if self.buffer.is_empty() {
            self.buffer = self.buffers.take(long && self.buffers.lent.get() < MAX_LARGE);
        } else if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let mut free = ReadBuf::new(&mut self.buffer[self.end..]);
        let polled = Pin::new(stream).poll_read(cx, &mut free);
        let read = free.filled().len();
        self.end += read;
        if self.is_empty() {
            self.give_back();
        }
        polled.map_ok(|()| read)
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        self.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inlet(buffers: &Rc<Buffers>, bytes: &[u8]) -> Inlet {
        let mut inlet = Inlet::new(buffers);
        inlet.buffer = buffers.take(false);
        inlet.buffer[..bytes.len()].copy_from_slice(bytes);
        inlet.end = bytes.len();
        inlet
    }

    #[test]
    fn an_empty_inlet_holds_no_memory() {
        let buffers = Rc::new(Buffers::default());
        let mut inlet = inlet(&buffers, b"hello");
        inlet.consume(2);
        assert_eq!(inlet.bytes(), b"llo");
        inlet.consume(3);
        assert_eq!(inlet.buffer.capacity(), 0);
        assert_eq!(buffers.small.borrow().len(), 1);
    }

    #[test]
    fn what_grows_keeps_its_bytes_and_comes_back_when_it_is_dropped() {
        let buffers = Rc::new(Buffers::default());
        let mut inlet = inlet(&buffers, b"hello");
        inlet.consume(1);
        inlet.grow();
        assert_eq!((inlet.bytes(), inlet.buffer.len(), buffers.lent.get()), (&b"ello"[..], LARGE, 1));
        drop(inlet);
        assert_eq!(
            (buffers.lent.get(), buffers.small.borrow().len(), buffers.large.borrow().len()),
            (0, 1, 1)
        );
    }
}
