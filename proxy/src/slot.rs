//! Hands a body over, piece by piece, from one task to another one on the same thread.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

/// A place for one piece of a body.
#[derive(Debug, Default)]
struct Slot {
    piece: Option<Bytes>,
    ended: bool,
    giver_gone: bool,
    taker_gone: bool,
    giver: Option<Waker>,
    taker: Option<Waker>,
}

/// The end that gives.
#[derive(Debug)]
pub(crate) struct Giver(Rc<RefCell<Slot>>);

/// The end that takes.
#[derive(Debug)]
pub(crate) struct Taker(Rc<RefCell<Slot>>);

/// A body that broke off before its end.
#[derive(Debug, thiserror::Error)]
#[error("the body broke off")]
pub(crate) struct BrokenOff;

/// The two ends of a body.
pub(crate) fn slot() -> (Giver, Taker) {
    let slot = Rc::<RefCell<Slot>>::default();
    (Giver(Rc::clone(&slot)), Taker(slot))
}

impl Giver {
    /// Waits until there is room. `false`: nobody takes any more.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut slot = self.0.borrow_mut();
        if slot.taker_gone || slot.piece.is_none() {
            return Poll::Ready(!slot.taker_gone);
        }
        slot.giver = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Gives a piece. Only where there is room.
    pub(crate) fn give(&self, piece: Bytes) {
        let mut slot = self.0.borrow_mut();
        slot.piece = Some(piece);
        wake(&mut slot.taker);
    }

    /// The body has ended as it should.
    pub(crate) fn end(&self) {
        let mut slot = self.0.borrow_mut();
        slot.ended = true;
        wake(&mut slot.taker);
    }
}

impl Drop for Giver {
    fn drop(&mut self) {
        let mut slot = self.0.borrow_mut();
        slot.giver_gone = true;
        wake(&mut slot.taker);
    }
}

impl Taker {
    /// The next piece; `None`: the body has ended.
    pub(crate) fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BrokenOff>>> {
        let mut slot = self.0.borrow_mut();
        if let Some(piece) = slot.piece.take() {
            wake(&mut slot.giver);
            return Poll::Ready(Some(Ok(piece)));
        }
        if slot.ended {
            return Poll::Ready(None);
        }
        if slot.giver_gone {
            return Poll::Ready(Some(Err(BrokenOff)));
        }
        slot.taker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Taker {
    fn drop(&mut self) {
        let mut slot = self.0.borrow_mut();
        slot.taker_gone = true;
        wake(&mut slot.giver);
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_come_in_order_and_an_end_is_not_a_break() {
        let cx = &mut Context::from_waker(Waker::noop());
        let (giver, taker) = slot();
        assert!(taker.poll_take(cx).is_pending());
        assert_eq!(giver.poll_room(cx), Poll::Ready(true));
        giver.give(Bytes::from_static(b"a"));
        assert!(giver.poll_room(cx).is_pending());
        giver.end();
        assert!(matches!(taker.poll_take(cx), Poll::Ready(Some(Ok(piece))) if piece == "a"));
        drop(giver);
        assert!(matches!(taker.poll_take(cx), Poll::Ready(None)));
        let (giver, taker) = slot();
        drop(giver);
        assert!(matches!(taker.poll_take(cx), Poll::Ready(Some(Err(BrokenOff)))));
        let (giver, taker) = slot();
        drop(taker);
        assert_eq!(giver.poll_room(cx), Poll::Ready(false));
    }
}
