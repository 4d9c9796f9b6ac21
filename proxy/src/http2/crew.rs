//! Tasks that serve streams, one after the other: a stream costs neither a task nor an alarm of its own.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use penstock_proxy_core::http2::request::RequestHead;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::exchange::exchange;
use crate::http1::alarm::{Alarm, NEVER};
use crate::http1::connection::Peer;
use crate::http2::call::StreamCall;
use crate::http2::link::Stream;
use crate::lane::Desk;
use crate::worker::Worker;

/// Most tasks that wait for streams.
const MAX_IDLE: usize = 256;

/// A stream to be served.
pub(crate) struct Job {
    pub(crate) lane: Rc<Desk>,
    pub(crate) peer: Rc<Peer>,
    pub(crate) request: RequestHead,
    pub(crate) stream: Stream,
    /// The worker does not end before this does.
    pub(crate) token: TaskTrackerToken,
}

/// The tasks of a thread that have nothing to do.
#[derive(Debug, Default)]
pub(crate) struct Crew(RefCell<Vec<Rc<Post>>>);

/// Where a task gets its next stream.
struct Post {
    job: Cell<Option<Job>>,
    /// There are tasks enough.
    over: Cell<bool>,
    waker: Waker,
}

impl std::fmt::Debug for Post {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Post").field("over", &self.over).finish_non_exhaustive()
    }
}

impl Crew {
    /// Has a stream served.
    pub(crate) fn serve(&self, worker: &Rc<Worker>, job: Job) {
        let Some(post) = self.0.borrow_mut().pop() else {
            tokio::task::spawn_local(work(Rc::clone(worker), job));
            return;
        };
        post.job.set(Some(job));
        post.waker.wake_by_ref();
    }

    /// Sends home half of those that have nothing to do.
    pub(crate) fn sweep(&self) {
        let mut idle = self.0.borrow_mut();
        let half = idle.len() / 2;
        for post in idle.drain(half..) {
            post.over.set(true);
            post.waker.wake_by_ref();
        }
    }

    /// The next stream for a task; `None`: it is not needed any more.
    async fn next(&self, post: &Rc<Post>) -> Option<Job> {
        if self.0.borrow().len() >= MAX_IDLE {
            return None;
        }
        self.0.borrow_mut().push(Rc::clone(post));
        poll_fn(|_| match post.job.take() {
            Some(job) => Poll::Ready(Some(job)),
            None if post.over.get() => Poll::Ready(None),
            None => Poll::Pending,
        })
        .await
    }
}

async fn work(worker: Rc<Worker>, first: Job) {
    let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
    let alarm = worker.alarms.alarm(waker.clone());
    let post = Rc::new(Post { job: Cell::new(None), over: Cell::new(false), waker });
    let mut next = Some(first);
    while let Some(job) = next {
        serve(&worker, job, &alarm).await;
        next = worker.crew.next(&post).await;
    }
}

async fn serve(worker: &Rc<Worker>, job: Job, alarm: &Alarm) {
    let Job { lane, peer, request, stream, token } = job;
    let mut call = StreamCall::new(worker, &peer, alarm, request, stream);
    exchange(&lane, worker, &mut call).await;
    alarm.set(NEVER);
    drop(token);
}
