//! What is known of one stream.

use std::collections::VecDeque;
use std::task::{Context, Waker};

use bytes::Bytes;
use http::{HeaderMap, Response};

use super::super::request::RequestHead;
use super::super::{Broken, MAX_FRAME};

/// A stream.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) opened: u64,
    /// Its handles outside.
    pub(super) handles: u32,
    pub(super) waker: Option<Waker>,
    pub(super) broken: Option<Broken>,
    /// Both directions have ended, or it is broken.
    pub(super) closed: bool,

    // What comes.
    pub(super) request: Option<RequestHead>,
    pub(super) interim: VecDeque<Response<()>>,
    pub(super) answer: Option<Response<()>>,
    pub(super) answered: bool,
    pub(super) to_head: bool,
    pub(super) body: VecDeque<Bytes>,
    /// The end of what has come of it: small frames in one piece, or each would cost more than what is in it.
    pub(super) tail: Vec<u8>,
    pub(super) trailers: Option<HeaderMap>,
    /// All of it has come.
    pub(super) received: bool,
    /// What its body has to be long, still.
    pub(super) due: Option<u64>,
    pub(super) receivable: i64,
    pub(super) taken: u32,

    // What goes.
    pub(super) window: i64,
    pub(super) pending: VecDeque<Bytes>,
    pub(super) ending: Ending,
    pub(super) sent: bool,
    pub(super) is_held: bool,
    pub(super) in_crowd: bool,
}

/// What follows what is pending.
#[derive(Debug)]
pub(super) enum Ending {
    More,
    Nothing,
    Trailers(HeaderMap),
}

impl Stream {
    pub(super) fn new(opened: u64, receivable: u32, window: i64) -> Box<Stream> {
        Box::new(Stream {
            opened,
            handles: 0,
            waker: None,
            broken: None,
            closed: false,
            request: None,
            interim: VecDeque::new(),
            answer: None,
            answered: false,
            to_head: false,
            body: VecDeque::new(),
            tail: Vec::new(),
            trailers: None,
            received: false,
            due: None,
            receivable: i64::from(receivable),
            taken: 0,
            window,
            pending: VecDeque::new(),
            ending: Ending::More,
            sent: false,
            is_held: false,
            in_crowd: false,
        })
    }

    pub(super) fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    pub(super) fn wait(&mut self, cx: &Context<'_>) {
        if self.waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
    }

    pub(super) fn keep(&mut self, data: &[u8]) {
        if !self.tail.is_empty() && self.tail.len() + data.len() > MAX_FRAME {
            self.body.push_back(std::mem::take(&mut self.tail).into());
        }
        self.tail.extend_from_slice(data);
    }

    pub(super) fn next_piece(&mut self) -> Option<Bytes> {
        let tail = || Some(std::mem::take(&mut self.tail)).filter(|tail| !tail.is_empty()).map(Bytes::from);
        self.body.pop_front().or_else(tail)
    }

    /// How much of the body waits to be taken.
    pub(super) fn kept(&self) -> usize {
        self.body.iter().map(Bytes::len).sum::<usize>() + self.tail.len()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.pending.is_empty() && matches!(self.ending, Ending::More)
    }
}
