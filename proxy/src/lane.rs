//! What the threads of the data plane share for one Rollout.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::StatusCode;
use penstock_proxy_api::Culprit;
use penstock_proxy_core::limit::Limit;
use penstock_proxy_core::table::Table;

use crate::series::{End, Series};

/// One Rollout: its table in effect and what outlives tables.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) namespace: String,
    pub(crate) rollout: String,
    pub(crate) entry: ArcSwap<Entry>,
    pub(crate) limit: Arc<Limit>,
    /// Counts requests that got no revision.
    pub(crate) unrouted: Arc<Series>,
}

/// A table, and the series of each of its revisions. Swapped as one.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    pub(crate) table: Table,
    pub(crate) series: Vec<Arc<Series>>,
}

impl Lane {
    /// Counts requests that hyper could not make sense of and answered itself.
    pub(crate) fn note_connection_error(&self, thread: usize, error: &hyper::Error) {
        if error.is_parse() {
            let (status, latency) = (Some(StatusCode::BAD_REQUEST), Duration::ZERO);
            self.unrouted.end(thread, End { status, culprit: Culprit::Client, latency });
        }
        tracing::trace!(%error, rollout = self.rollout, "connection ended");
    }
}
