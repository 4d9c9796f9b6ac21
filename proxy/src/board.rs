//! What the proxy shows of itself: status and metrics are read from here.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;

use crate::lane::Lane;
use crate::registry::Registry;

/// Written by the control, read by the admin.
#[derive(Debug)]
pub(crate) struct Board {
    pub(crate) instance: String,
    pub(crate) registry: Registry,
    view: ArcSwap<View>,
    ready: AtomicBool,
    draining: AtomicBool,
    listed: AtomicBool,
}

/// What the control has put into effect.
#[derive(Debug, Default)]
pub(crate) struct View {
    pub(crate) lanes: Vec<Shown>,
    pub(crate) problems: Vec<String>,
}

/// One Rollout.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) lane: Arc<Lane>,
    pub(crate) listen: Option<SocketAddr>,
}

impl Board {
    pub(crate) fn new(instance: String, threads: usize) -> Board {
        let (registry, view) = (Registry::new(threads), ArcSwap::default());
        let [ready, draining, listed] = std::array::from_fn(|_| AtomicBool::new(false));
        Board { instance, registry, view, ready, draining, listed }
    }

    /// Shows what is in effect. The first time makes the proxy ready.
    pub(crate) fn show(&self, view: View) {
        self.view.store(Arc::new(view));
        self.ready.store(true, Ordering::SeqCst);
    }

    /// Shows why nothing is in effect yet.
    pub(crate) fn explain(&self, problems: Vec<String>) {
        self.view.store(Arc::new(View { lanes: Vec::new(), problems }));
    }

    pub(crate) fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// Shows whether a slice leads clients here.
    pub(crate) fn list(&self, listed: bool) {
        self.listed.store(listed, Ordering::SeqCst);
    }

    pub(crate) fn is_listed(&self) -> bool {
        self.listed.load(Ordering::SeqCst)
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::SeqCst) && !self.is_draining()
    }
}
