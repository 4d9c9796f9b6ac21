//! A namespace with a Rollout in it: the world of one scenario.

use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use penstock_crds::{Phase, Rollout, RolloutStatus};
use serde_json::{Value, json};

use super::caller::Caller;
use super::journal::{Journal, Seen};
use super::kubectl::{self, kubectl};
use super::place::Place;
use super::pods;
use super::release::{ROLLOUT, Release};
use crate::PATIENCE;
use crate::traffic::{Record, now};

/// Requests a second, unless a scenario says otherwise.
pub const RATE: u32 = 200;

/// A namespace for one scenario.
#[derive(Debug)]
pub struct Shop {
    /// The cluster.
    pub place: Place,
    /// The name of the namespace.
    pub name: String,
    /// What is told of the Rollout.
    pub journal: Journal,
    /// Where logs of this scenario are kept.
    pub folder: PathBuf,
    /// The generation of the spec that was applied last.
    applied: AtomicI64,
}

/// When something was done, in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug)]
pub struct Done {
    /// Before the command was started.
    pub begun: u64,
    /// After it has ended.
    pub ended: u64,
}

impl Shop {
    /// Makes a namespace that takes only pods of the strictest policy.
    pub async fn open(place: &Place, slug: &str) -> Result<Shop> {
        let name = format!("e2e-{slug}");
        let folder = place.logs.join(slug);
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let labels = json!({"pod-security.kubernetes.io/enforce": "restricted", "penstock-e2e": "scenario"});
        let namespace: Namespace =
            serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}}))?;
        namespaces(place).create(&PostParams::default(), &namespace).await?;
        let journal = Journal::follow(place.client.clone(), &name, ROLLOUT);
        Ok(Shop { place: place.clone(), name, journal, folder, applied: AtomicI64::new(0) })
    }

    /// Has the namespace deleted, and does not wait for it.
    pub async fn close(&self) -> Result<()> {
        namespaces(&self.place)
            .delete(&self.name, &DeleteParams::default())
            .await
            .context("close the shop")?;
        Ok(())
    }

    /// The Rollouts of the namespace.
    pub fn rollouts(&self) -> Api<Rollout> {
        Api::namespaced(self.place.client.clone(), &self.name)
    }

    /// Its pods with these labels, by their names.
    pub async fn pods(&self, labels: &str) -> Result<Vec<pods::Seen>> {
        pods::pods(&self.place.client, &self.name, labels).await
    }

    /// Runs `kubectl` in the namespace.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        kubectl(&[&["-n", &self.name], arguments].concat()).await
    }

    /// Applies a manifest.
    pub async fn put(&self, manifest: &Value) -> Result<()> {
        kubectl::apply(&self.name, manifest).await?;
        Ok(())
    }

    /// Applies a release, as a GitOps tool does.
    pub async fn apply(&self, release: &Release) -> Result<Done> {
        let manifest = release.manifest(&self.place.images);
        let begun = now();
        self.put(&manifest).await?;
        self.noted(begun).await
    }

    /// Takes note of a new spec: from here on, only what answers it is waited for.
    pub async fn noted(&self, begun: u64) -> Result<Done> {
        let ended = now();
        let there = self.rollouts().get_metadata(ROLLOUT).await?;
        self.applied.store(there.metadata.generation.context("the Rollout's generation")?, Relaxed);
        Ok(Done { begun, ended })
    }

    /// Gives an order as a person does who has nothing but kubectl.
    pub async fn order(&self, word: &str, reason: &str) -> Result<Done> {
        let (annotation, begun) = (format!("penstock.dev/{word}={reason}"), now());
        self.kubectl(&["annotate", "--overwrite", "rollout", ROLLOUT, &annotation]).await?;
        Ok(Done { begun, ended: now() })
    }

    /// Waits until the status of the present spec is as wanted.
    pub async fn reaches(&self, what: &str, wanted: impl Fn(&RolloutStatus) -> bool) -> Result<Seen> {
        let applied = self.applied.load(Relaxed);
        let answered = |seen: &Seen| {
            let status = seen.status();
            seen.rollout.is_some() && status.observed_generation >= Some(applied) && wanted(&status)
        };
        self.journal.reaches(what, PATIENCE, answered).await
    }

    /// Waits until all traffic goes to the revision of the present template.
    pub async fn is_stable(&self) -> Result<RolloutStatus> {
        let seen = self.reaches("the release is through", |s| s.phase == Phase::Stable).await?;
        Ok(seen.status())
    }

    /// Waits until the release is aborted.
    pub async fn is_aborted(&self) -> Result<RolloutStatus> {
        Ok(self.reaches("the release is aborted", |s| s.phase == Phase::Aborted).await?.status())
    }

    /// Waits until every proxy gives the canary this share.
    pub async fn is_at(&self, weight: i32) -> Result<RolloutStatus> {
        let at = |s: &RolloutStatus| {
            s.canary_revision.is_some()
                && s.split.as_ref().is_some_and(|s| s.weight == weight && s.acknowledged)
        };
        Ok(self.reaches(&format!("the canary has {weight} %"), at).await?.status())
    }

    /// What a release did at last, by the words of its decisions.
    pub fn decided(&self) -> Vec<String> {
        let decisions = self.journal.last().map(|seen| seen.status().decisions).unwrap_or_default();
        decisions.into_iter().map(|decision| decision.what).collect()
    }

    /// Starts a client in a pod that calls the Service as others would.
    pub async fn caller(&self) -> Result<Caller> {
        self.caller_at(RATE).await
    }

    /// The same, with so many requests a second.
    pub async fn caller_at(&self, rate: u32) -> Result<Caller> {
        self.caller_named("client", rate).await
    }

    /// The same, in a pod of this name.
    pub async fn caller_named(&self, name: &str, rate: u32) -> Result<Caller> {
        let target = format!("{ROLLOUT}.{}.svc.cluster.local:80", self.name);
        let (client, images) = (self.place.client.clone(), &self.place.images);
        Caller::start((client, images), (&self.name, name), &target, rate).await
    }

    /// A first version that serves, and a client that counts.
    pub async fn serves(&self, release: &Release) -> Result<Caller> {
        let caller = self.caller().await?;
        self.apply(release).await?;
        self.is_stable().await?;
        caller.counts().await?;
        Ok(caller)
    }

    /// Waits until a second's worth of answers comes from this version alone.
    pub async fn only(&self, caller: &Caller, version: &str) -> Result<()> {
        let before = caller.record().await?.0.len();
        let enough = usize::try_from(RATE)?;
        let alone = |record: &Record| {
            let last = record.0.iter().rev().take(enough);
            record.0.len() >= enough && last.filter(|exchange| exchange.version() != version).count() == 0
        };
        let done = caller.until(&format!("{version} alone answers"), before, alone).await;
        done.with_context(|| self.journal.summary())?;
        Ok(())
    }

    /// The name of the revision under way.
    pub fn canary(&self) -> Result<String> {
        let status = self.journal.last().context("nothing was told")?.status();
        status.canary_revision.context("nothing is being released")
    }

    /// The end of the calls. What became of them is kept beside the logs.
    pub async fn ends(&self, caller: Caller) -> Result<Record> {
        let record = caller.stop().await?;
        let text = format!("{}\n{}", record.summary(), record.failures());
        std::fs::write(self.folder.join("client.txt"), text)?;
        Ok(record)
    }

    /// The end of the calls, none of which may have failed.
    pub async fn ends_well(&self, caller: Caller) -> Result<Record> {
        let record = self.ends(caller).await?;
        anyhow::ensure!(record.failed() == 0, "{}\n{}", record.summary(), record.failures());
        Ok(record)
    }
}

fn namespaces(place: &Place) -> Api<Namespace> {
    Api::all(place.client.clone())
}
