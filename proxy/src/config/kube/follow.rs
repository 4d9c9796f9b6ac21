//! Lists the objects of one kind and watches them from there on, until the proxy ends.
//!
//! Why not kube's own watcher: it tells of failures but not of their end, and watches again at once and for ever when a
//! server ends each watch as soon as it has begun. The protocol is that of the Kubernetes API concepts, "Efficient
//! detection of changes".

use std::hash::{BuildHasher, RandomState};
use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::AsyncBufRead;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::core::Request;
use kube::{Api, Client, Resource};
use tokio::sync::mpsc::Sender;
use tokio::time::{sleep, timeout};

use super::access::Access;
use super::delays::Delays;
use super::kind::Watched;
use super::lines::Lines;
use super::seen::Seen;
use super::store::News;
use super::trouble::Trouble;

/// Most objects of one answer to a list.
const PAGE: u32 = 500;
/// How long an answer may take: all of a page, or the head of a watch.
const ANSWER: Duration = Duration::from_secs(10);
/// How long a watch lasts at most, in seconds; the server ends it then.
const WATCH: u32 = 290;
/// How much later than that nobody ends it any more.
const LATE: Duration = Duration::from_secs(10);
/// A watch that has lasted so long was a good one.
const STEADY: Duration = Duration::from_secs(10);

/// Tells of all objects of kind `K` and of their changes. Never ends by itself.
pub(crate) async fn follow<K: Watched>(access: Access, news: Sender<News>) {
    let mut follower = Follower::<K> { access, news, version: None, kind: std::marker::PhantomData };
    let (mut delays, dice, mut denied) = (Delays::default(), RandomState::new(), false);
    for attempt in 0u64.. {
        let begun = Instant::now();
        let result = follower.run().await;
        if begun.elapsed() > STEADY {
            delays.reset();
        }
        let before = std::mem::replace(&mut denied, result.as_ref().is_err_and(Trouble::is_denied));
        if let Err(trouble) = result
            && (before || !denied)
        {
            follower.note(&trouble).await;
        }
        sleep(delays.next(dice.hash_one(attempt))).await;
    }
}

struct Follower<K> {
    access: Access,
    news: Sender<News>,
    /// Up to where everything is known; `None`: a list is needed.
    version: Option<String>,
    kind: std::marker::PhantomData<K>,
}

impl<K: Watched> Follower<K> {
    /// Lists if need be, and watches until the watch ends.
    async fn run(&mut self) -> Result<(), Trouble> {
        let client = self.access.client().await.map_err(Trouble::new)?;
        let version = match self.version.take() {
            Some(version) => version,
            None => self.list(&client).await?,
        };
        self.version = Some(version.clone());
        let result = self.watch(&client, &version).await;
        if result.as_ref().is_err_and(Trouble::asks_for_a_list) {
            self.version = None;
        }
        result
    }

    /// Reads all objects. Nothing is told until the last page is there. Returns up to where everything is known.
    async fn list(&self, client: &Client) -> Result<String, Trouble> {
        let api = Api::<Seen<K>>::namespaced(client.clone(), &self.access.namespace);
        let mut params =
            ListParams { label_selector: selector::<K>(), limit: Some(PAGE), ..ListParams::default() };
        let mut all = Vec::new();
        loop {
            let page = timeout(ANSWER, api.list(&params)).await.map_err(|_| Trouble::Silent)?;
            let page = page.map_err(Trouble::new)?;
            all.extend(page.items.into_iter().map(Seen::found));
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                let version = page.metadata.resource_version.filter(|version| !version.is_empty());
                self.tell(News::Listed(K::KIND, all)).await;
                return version.ok_or(Trouble::Expired);
            }
        }
    }

    async fn watch(&mut self, client: &Client, version: &str) -> Result<(), Trouble> {
        let params =
            WatchParams { label_selector: selector::<K>(), timeout: Some(WATCH), ..WatchParams::default() };
        let path = Seen::<K>::url_path(&(), Some(&self.access.namespace));
        let request = Request::new(path).watch(&params, version).map_err(kube::Error::BuildRequest)?;
        let events = timeout(ANSWER, client.request_stream(request)).await.map_err(|_| Trouble::Silent)?;
        let events = pin!(events.map_err(Trouble::new)?);
        self.tell(News::Watching(K::KIND)).await;
        self.pass_on(Lines::new(events)).await
    }

    /// Tells what the watch tells. One that breaks off has ended as well as any: the next one says what is wrong.
    async fn pass_on(&mut self, mut events: Lines<impl AsyncBufRead + Unpin>) -> Result<(), Trouble> {
        let patience = Duration::from_secs(WATCH.into()) + LATE;
        while let Ok(Ok(Some(event))) = timeout(patience, events.next()).await {
            let event: WatchEvent<Seen<K>> = serde_json::from_slice(&event).map_err(Trouble::Garbled)?;
            let (version, news) = match event {
                WatchEvent::Added(seen) | WatchEvent::Modified(seen) => {
                    (seen.version(), Some(News::Put(K::KIND, seen.found())))
                }
                WatchEvent::Deleted(seen) => (seen.version(), Some(News::Gone(K::KIND, seen.id()))),
                WatchEvent::Bookmark(bookmark) => (Some(bookmark.metadata.resource_version), None),
                WatchEvent::Error(status) => return Err(Trouble::new(kube::Error::Api(status))),
            };
            if let Some(news) = news {
                self.tell(news).await;
            }
            self.version = Some(version.ok_or(Trouble::Expired)?);
        }
        Ok(())
    }

    async fn note(&self, trouble: &Trouble) {
        let Access { server, namespace } = &self.access;
        if let Some(problem) = trouble.explain(K::KIND, server, namespace) {
            self.tell(News::Trouble(K::KIND, problem)).await;
        }
    }

    async fn tell(&self, news: News) {
        self.news.send(news).await.ok();
    }
}

fn selector<K: Watched>() -> Option<String> {
    K::LABEL.map(str::to_owned)
}
