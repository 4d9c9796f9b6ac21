//! A first version in service, and a client that never stops.

use anyhow::{Result, bail};
use penstock_crds::{DecisionRecord, RolloutStatus};

use crate::folder::{Folder, Said, Story, address};
use crate::manifest::Manifest;
use crate::traffic::{Record, Traffic};
use crate::{PATIENCE, wait_until};

/// A Rollout under traffic.
#[derive(Debug)]
pub struct World {
    /// The folder that is run.
    pub folder: Folder,
    /// What is in service at the beginning.
    pub first: Manifest,
    /// The client.
    pub traffic: Traffic,
}

impl World {
    /// Waits until the first version serves, then sends 300 requests a second.
    pub async fn serving(first: Manifest) -> Result<World> {
        let folder = Folder::serving(&first).await?;
        let traffic = Traffic::steady(address(&first), 300);
        World { folder, first, traffic }.flows().await
    }

    /// The same with one request after the other.
    pub async fn serving_one_by_one(first: Manifest) -> Result<World> {
        let folder = Folder::serving(&first).await?;
        let traffic = Traffic::one_by_one(address(&first));
        World { folder, first, traffic }.flows().await
    }

    async fn flows(self) -> Result<World> {
        self.is_answered_by(&self.first.version.clone()).await?;
        Ok(self)
    }

    /// Waits until 100 answers more of a version have come.
    pub async fn is_answered_by(&self, version: &str) -> Result<()> {
        let before = self.traffic.of(version);
        let more = async || match self.traffic.of(version) {
            now if now >= before + 100 => Ok(()),
            now => Err(format!("{} have come", now - before)),
        };
        wait_until(&format!("100 answers more of {version} have come"), PATIENCE, more).await
    }

    /// Waits until the status is as wanted.
    pub async fn until(
        &mut self,
        what: &str,
        wanted: impl Fn(&RolloutStatus) -> bool,
    ) -> Result<RolloutStatus> {
        self.folder.until(&self.first.name, what, wanted).await
    }

    /// Waits until the proxy gives the canary this share.
    pub async fn reaches(&mut self, weight: i32) -> Result<RolloutStatus> {
        self.until(&format!("the proxy gives the canary {weight} %"), |s| stands_at(s, weight)).await
    }

    /// Waits until the canary has this share and a person is waited for.
    pub async fn waits_for_a_person(&mut self, weight: i32) -> Result<RolloutStatus> {
        self.until(&format!("{weight} % and a person is waited for"), |s| {
            stands_at(s, weight) && s.message.as_ref().is_some_and(|m| m.contains("waits for a person"))
        })
        .await
    }

    /// Waits until a release is over and its traces are gone.
    pub async fn rests(&mut self) -> Result<RolloutStatus> {
        self.folder.rests(&self.first).await
    }

    /// Runs `penstock` with these arguments.
    pub async fn penstock(&self, arguments: &[&str]) -> Result<Said> {
        self.folder.penstock(arguments).await
    }

    /// Ends the traffic. Errors: a request has failed.
    pub async fn unharmed(self) -> Result<(Folder, Record)> {
        let World { folder, first, traffic } = self;
        let record = traffic.stop().await?;
        if record.failed() > 0 {
            let status = folder.status(&first.name).unwrap_or_default();
            bail!("{}\n{}\n{}", record.summary(), record.failures(), Story(&status));
        }
        Ok((folder, record))
    }
}

/// Whether the proxy gives the canary this share.
pub fn stands_at(status: &RolloutStatus, weight: i32) -> bool {
    status.split.as_ref().is_some_and(|split| split.weight == weight && split.acknowledged)
}

/// The decisions of a kind.
pub fn decisions<'a>(status: &'a RolloutStatus, what: &str) -> Vec<&'a DecisionRecord> {
    status.decisions.iter().filter(|decision| decision.what == what).collect()
}
