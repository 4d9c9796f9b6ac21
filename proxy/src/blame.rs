//! Failures of a revision of which no endpoint took a request: another one has served it, so there is time to hear whether
//! those endpoints are on their way out. A pod that is evicted refuses before anybody has told of its end.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::lane::Desk;
use crate::series::{End, Series};
use crate::worker::Worker;

/// How long news of endpoints may take.
const NEWS: Duration = Duration::from_secs(1);
/// Most failures of one thread that wait for news. Others are counted at once.
const MOST: usize = 1024;

/// A failure that is not counted yet.
#[derive(Debug)]
pub(crate) struct Blame {
    pub(crate) lane: Rc<Desk>,
    pub(crate) series: Arc<Series>,
    /// Where the request was not taken.
    pub(crate) tried: Vec<SocketAddr>,
    /// As what it is counted.
    pub(crate) end: End,
}

impl Blame {
    /// Counts the failure in a moment, unless all endpoints turn out to have been on their way out.
    pub(crate) fn settle_soon(self, worker: &Rc<Worker>) {
        let (thread, waiting) = (worker.thread, Rc::clone(&worker.blames));
        if Rc::strong_count(&waiting) > MOST {
            return self.series.count(thread, self.end);
        }
        tokio::task::spawn_local(async move {
            sleep(NEWS).await;
            drop(waiting);
            if !self.is_forgiven() {
                self.series.count(thread, self.end);
            }
        });
    }

    fn is_forgiven(&self) -> bool {
        let entry = self.lane.entry();
        let name = &self.series.key().revision;
        let revision = entry.table.revisions.iter().find(|revision| *revision.name == **name);
        revision.is_some_and(|revision| self.tried.iter().all(|address| revision.has_let_go(*address)))
    }
}
