//! Connections to endpoints of HTTP/1, and those that are kept: a store for each thread, never shared.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use penstock_proxy_core::balance::Tick;
use penstock_proxy_core::quick::Quick;
use socket2::SockRef;

use crate::http1::buffer::Buffers;
use crate::http1::side::{Side, would_block};
use crate::reach;

/// Most kept connections to one endpoint.
const MAX_KEPT: usize = 256;
/// How long one is kept, in milliseconds.
const KEPT: u64 = 30_000;

/// A connection to an endpoint.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) side: Side,
    pub(crate) address: SocketAddr,
    /// Whether it has carried a request before.
    pub(crate) reused: bool,
    /// Whether the endpoint may take its time to read.
    stalls: bool,
}

impl Upstream {
    /// Opens one.
    pub(crate) async fn open(
        address: SocketAddr,
        patience: Duration,
        buffers: Rc<Buffers>,
    ) -> io::Result<Box<Upstream>> {
        let stream = reach::open(address, patience).await?;
        Ok(Box::new(Upstream { side: Side::new(stream, &buffers), address, reused: false, stalls: false }))
    }

    /// Says whether the endpoint may take its time to read what is sent to it.
    pub(crate) fn expect_stalls(&mut self, stalls: bool) {
        if self.stalls != stalls {
            self.stalls = stalls;
            reach::expect_stalls(&SockRef::from(&self.side.stream), stalls).ok();
        }
    }

    /// Whether nothing has come from the endpoint, its end included, as far as this thread has been told. Asks the
    /// kernel only if it has been told something.
    fn seems_alive(&self) -> bool {
        would_block(self.side.stream.try_read(&mut [0]))
    }
}

/// The connections that are kept.
#[derive(Debug, Default)]
pub(crate) struct Kept(RefCell<HashMap<SocketAddr, Vec<Idle>, BuildHasherDefault<Quick>>>);

#[derive(Debug)]
struct Idle {
    upstream: Box<Upstream>,
    since: Tick,
}

impl Kept {
    /// The connection to `address` that was used last, if it is alive. `surely`: the kernel is asked, because the
    /// request can't be sent twice.
    pub(crate) fn take(&self, address: SocketAddr, surely: bool) -> Option<Box<Upstream>> {
        let mut all = self.0.borrow_mut();
        let idle = all.get_mut(&address)?;
        while let Some(Idle { upstream, .. }) = idle.pop() {
            if upstream.seems_alive() && (!surely || upstream.side.is_quiet()) {
                return Some(upstream);
            }
        }
        None
    }

    /// Keeps a connection that has nothing under way.
    pub(crate) fn put(&self, mut upstream: Box<Upstream>, since: Tick) {
        let mut all = self.0.borrow_mut();
        let idle = all.entry(upstream.address).or_default();
        if idle.len() < MAX_KEPT {
            upstream.reused = true;
            idle.push(Idle { upstream, since });
        }
    }

    /// Closes those to an endpoint.
    pub(crate) fn forget(&self, address: SocketAddr) {
        self.0.borrow_mut().remove(&address);
    }

    /// Closes all.
    pub(crate) fn shed(&self) {
        self.0.borrow_mut().clear();
    }

    /// Closes those that have not been used for long, or have died.
    pub(crate) fn sweep(&self, now: Tick) {
        self.0.borrow_mut().retain(|_, idle| {
            idle.retain(|i| i.since.0 + KEPT > now.0 && i.upstream.seems_alive());
            !idle.is_empty()
        });
    }
}
