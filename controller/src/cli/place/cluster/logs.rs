//! What pods say, and the revisions that are kept.

use std::collections::BTreeSet;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Result, bail};
use futures_util::{AsyncBufRead, AsyncBufReadExt};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{ListParams, LogParams};
use penstock_core::time::Time;
use penstock_proxy_api::object;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::{Cluster, NotFound, Saved, patiently, trouble};
use crate::cli::logs::{Say, Wanted};
use crate::cli::paint::complain;
use crate::cli::place::Kept;

/// Most pods whose lines are read at the same time.
const PODS: usize = 50;
/// Longest piece of a line.
const LINE: usize = 64 << 10;
/// Lines on their way.
const LINES: usize = 1024;
/// How soon a new pod is heard.
const LOOK: Duration = Duration::from_secs(1);

type Line = (String, Vec<u8>);

impl Cluster {
    pub(super) async fn kept_revisions(&self, of: &Saved) -> Result<Vec<Kept>> {
        let doing = self.doing("list", Some(of.namespace()));
        let api: Api<ReplicaSet> = Api::namespaced(self.client.clone(), of.namespace());
        let params = ListParams::default().labels(&format!("{}={}", object::ROLLOUT, of.name())).limit(500);
        let sets = patiently(&doing, async || api.list(&params).await).await?;
        let sets = sets.map_err(|error| trouble::explain(&error, &doing).context("see the ReplicaSets"))?;
        Ok(sets.into_iter().filter_map(kept).collect())
    }

    pub(super) async fn speak(&self, of: &Saved, wanted: &Wanted, say: Say<'_>) -> Result<()> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), of.namespace());
        let (told, mut lines) = mpsc::channel::<Line>(LINES);
        let mut readers =
            Readers { api, wanted: wanted.clone(), told, known: BTreeSet::new(), tasks: JoinSet::new() };
        if self.join(of, &mut readers).await? == 0 && !wanted.follow {
            bail!(NotFound(format!(
                "revision {} has no pods any more: what they said is where your cluster collects logs",
                wanted.revision
            )));
        }
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while wanted.follow || !readers.tasks.is_empty() || !lines.is_empty() {
            tokio::select! {
                biased;
                Some((pod, line)) = lines.recv() => say(&pod, &line)?,
                Some(_) = readers.tasks.join_next() => {}
                _ = look.tick(), if wanted.follow => {
                    if let Err(error) = self.join(of, &mut readers).await {
                        complain(&format!("{error:#}; trying again"));
                    }
                }
            }
        }
        Ok(())
    }

    /// Begins to read the pods that are not read yet. How many pods there are.
    async fn join(&self, of: &Saved, readers: &mut Readers) -> Result<usize> {
        let doing = self.doing("list", Some(of.namespace()));
        let labels =
            format!("{}={},{}={}", object::ROLLOUT, of.name(), object::REVISION, readers.wanted.revision);
        let params = ListParams::default().labels(&labels).limit(500);
        let pods = patiently(&doing, async || readers.api.list(&params).await).await?;
        let pods = pods.map_err(|error| trouble::explain(&error, &doing).context("see the pods"))?;
        let count = pods.items.len();
        for pod in pods {
            readers.read(&pod);
        }
        Ok(count)
    }
}

struct Readers {
    api: Api<Pod>,
    wanted: Wanted,
    told: mpsc::Sender<Line>,
    known: BTreeSet<String>,
    tasks: JoinSet<()>,
}

impl Readers {
    fn read(&mut self, pod: &Pod) {
        let begun = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
        let begun = begun.into_iter().flatten().any(|status| {
            status.state.as_ref().is_some_and(|state| state.running.is_some() || state.terminated.is_some())
        });
        let Some(name) = pod.metadata.name.clone().filter(|name| !self.known.contains(name)) else { return };
        if !begun || self.tasks.len() >= PODS {
            return;
        }
        let first = pod.spec.as_ref().and_then(|spec| spec.containers.first()).map(|c| c.name.clone());
        self.known.insert(name.clone());
        let params = LogParams {
            container: self.wanted.container.clone().or(first),
            follow: self.wanted.follow,
            tail_lines: Some(i64::from(self.wanted.tail)),
            since_seconds: self
                .wanted
                .since
                .map(|since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX).max(1)),
            ..LogParams::default()
        };
        let (api, told) = (self.api.clone(), self.told.clone());
        self.tasks.spawn(async move {
            if let Err(error) = read(&api, &name, &params, &told).await {
                complain(&format!("{name}: {error}"));
            }
        });
    }
}

async fn read(api: &Api<Pod>, pod: &str, params: &LogParams, told: &mpsc::Sender<Line>) -> Result<()> {
    let mut stream = pin!(api.log_stream(pod, params).await?);
    let mut line = Vec::new();
    loop {
        let chunk = stream.fill_buf().await?;
        if chunk.is_empty() {
            if !line.is_empty() {
                let _ = told.send((pod.to_owned(), line)).await;
            }
            return Ok(());
        }
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let take = end.unwrap_or(chunk.len()).min(LINE - line.len());
        line.extend_from_slice(&chunk[..take]);
        let whole = end == Some(take);
        stream.as_mut().consume(take + usize::from(whole));
        if (whole || line.len() >= LINE)
            && told.send((pod.to_owned(), std::mem::take(&mut line))).await.is_err()
        {
            return Ok(());
        }
    }
}

fn kept(set: ReplicaSet) -> Option<Kept> {
    let revision = set.metadata.labels.as_ref()?.get(object::REVISION)?.clone();
    let created = set.metadata.creation_timestamp.as_ref().map(|time| time.0.as_millisecond());
    Some(Kept {
        revision,
        created: created.and_then(|millis| u64::try_from(millis).ok()).map(Time),
        template: serde_json::to_value(set.spec?.template?).ok()?,
    })
}
