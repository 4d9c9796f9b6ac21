//! `penstock local`: everything that runs for a folder, and who hears of what.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::files::FileError;
use super::home::{Home, Key};
use super::instance::{Instance, InstanceError};
use super::listen::{self, LOCAL_PORT, ListenError, Listens};
use super::manifests::{Manifest, Manifests, Wanted};
use super::orders::Orders;
use super::pods::{Pace, Supervisor};
use super::proxy::{self, Proxy, ProxyError};
use super::revisions::Revisions;
use super::shelf::Shelf;
use super::stop::stop_all;
use super::store::Store;
use super::tend::{take_down, tend};
use super::view::LocalView;
use super::watched::Watched;
use super::world::{Applied, Site};
use crate::ask::SourceError;
use crate::ask::hook::Hooks;
use crate::ask::proxies::Proxies;
use crate::clock::now;
use crate::history::{Histories, record};
use crate::outside::Outside;
use crate::post::{Post, Tallies};

/// The proxy is next door: it says how it is in this time, or not at all.
const STATUS_TIMEOUT: Duration = Duration::from_millis(500);
/// The proxy's counters are read in this time, or there is no data.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(2);
/// How often releases are measured for people.
const MEASURED: Duration = Duration::from_secs(1);
/// How long pods and proxy may take to go.
const STOP_WITHIN: Duration = Duration::from_secs(20);
/// What is waited for of a port in use, or of a proxy that starts.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// How to run a folder.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder with the manifests.
    pub dir: PathBuf,
    /// Leave pods and proxy running at the end.
    pub keep: bool,
    /// What holds for all Rollouts.
    pub outside: Outside,
}

/// Why a folder can't be run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Somebody else runs it.
    #[error(transparent)]
    Instance(#[from] InstanceError),
    /// The disk refuses.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is no proxy.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// No HTTP client could be made.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Something is left behind.
    #[error("not everything has ended in time: look at the processes that hold {0}")]
    LeftBehind(String),
}

/// Runs a folder until `stop`, then takes pods and proxy down unless they are to be kept. `beside` gets a view of it,
/// and runs as long.
pub async fn run<F: Future<Output = ()> + Send + 'static>(
    options: Options,
    stop: impl Future<Output = ()>,
    beside: impl FnOnce(Arc<LocalView>) -> F,
) -> Result<(), RunError> {
    let home = Home::open(&options.dir)?;
    let _instance = Instance::take(&home, now())?;
    let proxy = Proxy::open(&home, proxy::program()?)?;
    let site = Arc::new(site(home, &proxy, &options.outside)?);
    tracing::info!(dir = %site.home.dir().display(), admin = site.admin, "running");
    let manifests = Manifests::watch(&site.home)?;
    let mut folder = Folder::new(Arc::clone(&site));
    let view = Arc::new(LocalView::new(Arc::clone(&site)));
    folder.tasks.spawn(record(Arc::clone(&view), Proxies::new(SCRAPE_TIMEOUT)?, MEASURED));
    folder.tasks.spawn(beside(view));
    tokio::select! {
        () = folder.follow(manifests.wanted()) => {}
        () = stop => {}
    }
    drop((manifests, folder));
    if options.keep {
        tracing::info!("pods and proxy go on; `penstock local` adopts them again");
        return Ok(());
    }
    tracing::info!("stopping pods and proxy");
    let gone = stop_all(&proxy, &site.supervisor, STOP_WITHIN).await;
    if gone { Ok(()) } else { Err(RunError::LeftBehind(site.home.own().display().to_string())) }
}

fn site(home: Home, proxy: &Proxy, outside: &Outside) -> Result<Site, RunError> {
    Ok(Site {
        store: Store::new(&home),
        orders: Orders::new(&home),
        revisions: Revisions::new(&home),
        supervisor: Supervisor::open(&home, Pace::default())?,
        status: Proxies::new(STATUS_TIMEOUT)?,
        scrape: Proxies::new(SCRAPE_TIMEOUT)?,
        post: Arc::new(Post::new(Hooks::new()?, outside.page.as_deref(), Tallies::default())),
        hooks: Hooks::new()?,
        freezes: outside.freezes.clone(),
        receivers: outside.receivers.clone(),
        admin: proxy.admin().to_string(),
        shelf: Shelf::default(),
        histories: Arc::new(Histories::new(now())),
        home,
    })
}

/// A Rollout that is tended.
struct Tended {
    wanted: watch::Sender<Option<Applied>>,
    task: JoinHandle<()>,
}

/// The Rollouts of a folder.
struct Folder {
    site: Arc<Site>,
    listens: Listens,
    tended: BTreeMap<Key, Tended>,
    told: BTreeSet<String>,
    touched: watch::Receiver<u64>,
    tasks: JoinSet<()>,
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.tended.values().for_each(|tended| tended.task.abort());
    }
}

impl Folder {
    fn new(site: Arc<Site>) -> Folder {
        let (touch, touched) = watch::channel(0);
        let mut tasks = JoinSet::new();
        for (dir, deep) in [(site.home.orders(), true), (site.home.proxy(), false)] {
            tasks.spawn(tell_of_touches(Watched::new(&dir, deep, LOOK_AGAIN), touch.clone()));
        }
        Folder {
            site,
            listens: Listens::default(),
            tended: BTreeMap::new(),
            told: BTreeSet::new(),
            touched,
            tasks,
        }
    }

    /// Does what the manifests say, at each change of them; what can't be done yet is tried again.
    async fn follow(&mut self, mut wanted: watch::Receiver<Arc<Wanted>>) {
        self.take_down_the_forgotten(&wanted.borrow().clone());
        loop {
            let now = wanted.borrow_and_update().clone();
            let all_done = self.apply(&now).await;
            tokio::select! {
                changed = wanted.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(LOOK_AGAIN), if !all_done => {}
            }
        }
    }

    /// Rollouts whose manifests went while nobody looked.
    fn take_down_the_forgotten(&mut self, wanted: &Wanted) {
        let saved = self.site.store.keys().unwrap_or_default();
        let served = self.site.supervisor.look().into_keys();
        let forgotten: BTreeSet<Key> =
            saved.into_iter().chain(served).filter(|key| !wanted.rollouts.contains_key(key)).collect();
        for key in forgotten {
            let site = Arc::clone(&self.site);
            self.tasks.spawn(async move { take_down(&site, &key).await });
        }
    }

    /// Returns whether everything could be done.
    async fn apply(&mut self, wanted: &Wanted) -> bool {
        let own = self.own_ports().await;
        let mut problems: Vec<String> = wanted.problems.iter().map(|p| p.text.clone()).collect();
        let mut all_done = true;
        for (key, manifest) in &wanted.rollouts {
            let spoilt =
                wanted.problems.iter().filter(|p| p.key.as_ref() == Some(key) || p.file == manifest.file);
            let problem = spoilt.map(|p| p.text.as_str()).collect::<Vec<_>>().join("\n");
            let problem = (!problem.is_empty()).then_some(problem);
            if let Err(error) = self.tend(key, manifest, &own, problem) {
                problems.push(format!("{}: {error}", manifest.file));
                all_done = false;
            }
        }
        self.delete(wanted);
        self.tell(problems);
        all_done
    }

    fn tend(
        &mut self,
        key: &Key,
        manifest: &Manifest,
        own: &BTreeSet<u16>,
        problem: Option<String>,
    ) -> Result<(), ListenError> {
        let annotations = manifest.rollout.metadata.annotations.as_ref();
        let annotation = annotations.and_then(|a| a.get(LOCAL_PORT)).map(String::as_str);
        let service = manifest.admitted.facts.service.port;
        let assigned = listen::wanted(key, annotation, service)
            .and_then(|port| self.listens.assign(key, port, own).map(|()| port));
        // What is served already goes on being served where it is.
        let (port, problem) = match (assigned, self.listens.of(key)) {
            (Ok(port), _) => (port, problem),
            (Err(error), Some(before)) => (before, Some(error.to_string())),
            (Err(error), None) => return Err(error),
        };
        let object = serde_json::to_value(&manifest.rollout).unwrap_or(Value::Null);
        let applied = Some(Applied { object, admitted: manifest.admitted.clone(), port, problem });
        match self.tended.get(key) {
            Some(tended) => {
                _ = tended.wanted.send_if_modified(|old| {
                    *old != applied && {
                        *old = applied;
                        true
                    }
                })
            }
            None => self.begin(key, applied),
        }
        Ok(())
    }

    fn begin(&mut self, key: &Key, applied: Option<Applied>) {
        let (sender, wanted) = watch::channel(applied);
        let task = tokio::spawn(tend(Arc::clone(&self.site), key.clone(), wanted, self.touched.clone()));
        self.tended.insert(key.clone(), Tended { wanted: sender, task });
    }

    fn delete(&mut self, wanted: &Wanted) {
        let gone: Vec<Key> =
            self.tended.keys().filter(|key| !wanted.rollouts.contains_key(key)).cloned().collect();
        for key in gone {
            self.listens.release(&key);
            if let Some(tended) = self.tended.remove(&key) {
                tended.wanted.send_replace(None);
                self.tasks.spawn(async move { _ = tended.task.await });
            }
        }
    }

    /// Each problem is told once, and again when it comes back.
    fn tell(&mut self, problems: Vec<String>) {
        let problems: BTreeSet<String> = problems.into_iter().collect();
        problems.difference(&self.told).for_each(|problem| tracing::error!("{problem}"));
        self.told = problems;
    }

    /// Ports on which our proxy listens already.
    async fn own_ports(&self) -> BTreeSet<u16> {
        let reports = self.site.status.status(std::slice::from_ref(&self.site.admin)).await;
        let rollouts = reports.into_values().flatten().flat_map(|status| status.rollouts);
        let port = |listen: String| listen.parse::<SocketAddr>().ok().map(|address| address.port());
        rollouts.filter_map(|rollout| rollout.listen.and_then(port)).collect()
    }
}

async fn tell_of_touches(mut watched: Watched, touch: watch::Sender<u64>) {
    loop {
        watched.changed().await;
        touch.send_modify(|n| *n = n.wrapping_add(1));
    }
}
