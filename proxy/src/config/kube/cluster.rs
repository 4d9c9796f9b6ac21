//! The source that watches a namespace.

use std::io;
use std::time::Duration;

use gateway_api::httproutes::HttpRoute;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{Receiver, UnboundedReceiver, channel, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::access::Access;
use super::follow::follow;
use super::store::{News, Store};
use crate::config::contents::Contents;
use crate::config::source::{Nudge, Nudger, Source};

/// Most news that wait for the index. A watch that has more waits itself.
const QUEUE: usize = 256;
/// How long news are gathered before they are put into effect as one.
const GATHER: Duration = Duration::from_millis(5);

/// The objects of a namespace.
#[derive(Debug)]
pub(crate) struct Cluster {
    runtime: Runtime,
    access: Access,
    news: Receiver<News>,
    /// Ended when dropped.
    watches: JoinSet<()>,
    nudges: UnboundedReceiver<Nudge>,
    store: Store,
}

impl Cluster {
    /// Begins to watch.
    pub(crate) fn new(access: Access) -> io::Result<(Cluster, Nudger)> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (nudge, nudges) = unbounded_channel();
        let (news, watches) = watch(&runtime, &access);
        let cluster = Cluster { runtime, access, news, watches, nudges, store: Store::default() };
        Ok((cluster, Box::new(move |why| nudge.send(why).unwrap_or_default())))
    }
}

/// Watches all kinds.
fn watch(runtime: &Runtime, access: &Access) -> (Receiver<News>, JoinSet<()>) {
    let ((sender, news), on, mut watches) = (channel(QUEUE), runtime.handle(), JoinSet::new());
    watches.spawn_on(follow::<HttpRoute>(access.clone(), sender.clone()), on);
    watches.spawn_on(follow::<EndpointSlice>(access.clone(), sender.clone()), on);
    watches.spawn_on(follow::<Service>(access.clone(), sender), on);
    (news, watches)
}

impl Source for Cluster {
    fn wait(&mut self, soon: Duration) -> Option<bool> {
        let Cluster { runtime, access, news, watches, nudges, store } = self;
        let told = runtime.block_on(async {
            let (mut due, mut changed) = (Instant::now() + soon, false);
            loop {
                tokio::select! {
                    biased;
                    nudge = nudges.recv() => match nudge {
                        Some(Nudge::Reload) => return Some(None),
                        Some(Nudge::Stop) | None => return None,
                    },
                    () = sleep_until(due) => return Some(Some(changed)),
                    told = news.recv() => if store.apply(told?) && !changed {
                        (changed, due) = (true, due.min(Instant::now() + GATHER));
                    },
                }
            }
        })?;
        if told.is_none() {
            (*news, *watches) = watch(runtime, access);
        }
        Some(told.unwrap_or_default())
    }

    fn contents(&self) -> Contents<'_> {
        self.store.contents()
    }

    fn is_complete(&self) -> bool {
        self.store.is_complete()
    }
}
