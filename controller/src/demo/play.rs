//! Plays the scenes: applies a manifest, watches what becomes of it, begins the next one.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use penstock_crds::{DecisionRecord, Phase, RolloutStatus};

use super::load::Load;
use super::screen::{Screen, Shown};
use super::script::{Ends, NAME, SCENES, Scene};
use crate::cli::store;

/// A scene that has not ended by then does not end well.
const LONGEST: Duration = Duration::from_secs(90);
/// How long the end of a scene is looked at.
const AFTER: Duration = Duration::from_millis(2500);
/// How often the screen is drawn.
const FRAME: Duration = Duration::from_millis(200);

/// How a scene ended.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    /// Which one.
    pub(crate) scene: Scene,
    /// The last phase of its Rollout.
    pub(crate) phase: Phase,
    /// Which version had all traffic.
    pub(crate) stable: Option<String>,
    /// How long it took.
    pub(crate) took: Duration,
}

impl Ended {
    /// Whether the Rollout did what the scene is to show.
    pub(crate) fn as_it_should(&self, before: Option<&str>) -> bool {
        match self.scene.ends {
            Ends::Shipped => {
                self.phase == Phase::Stable && self.stable.as_deref() == Some(self.scene.version)
            }
            Ends::RolledBack => self.phase == Phase::Aborted && self.stable.as_deref() == before,
        }
    }
}

/// The demo under way.
pub(crate) struct Play {
    /// The folder of the manifest.
    pub(crate) dir: PathBuf,
    /// The port that is served.
    pub(crate) port: u16,
    /// This program.
    pub(crate) program: String,
    /// Where it is shown.
    pub(crate) screen: Screen,
    versions: BTreeMap<String, &'static str>,
    told: Vec<DecisionRecord>,
}

impl Play {
    /// A play that has not begun.
    pub(crate) fn new(dir: PathBuf, port: u16, program: String, screen: Screen) -> Play {
        Play { dir, port, program, screen, versions: BTreeMap::new(), told: Vec::new() }
    }

    /// The first version, without traffic: there is nobody to answer yet.
    pub(crate) async fn open(&mut self) -> Result<Ended> {
        self.scene(SCENES[0], None).await
    }

    /// The releases, under traffic.
    pub(crate) async fn releases(&mut self, load: &Load) -> Result<Vec<Ended>> {
        let mut ended = Vec::new();
        for scene in SCENES.into_iter().skip(1) {
            load.begin(scene.version);
            ended.push(self.scene(scene, Some(load)).await?);
        }
        Ok(ended)
    }

    async fn scene(&mut self, scene: Scene, load: Option<&Load>) -> Result<Ended> {
        let text = scene.manifest(&self.program, self.port);
        let revision = revision_of(&text)?;
        self.versions.insert(revision.clone(), scene.version);
        write(&self.dir, &text)?;
        self.screen.begin(&scene);
        let begun = Instant::now();
        let mut over: Option<Instant> = None;
        let mut took = Duration::ZERO;
        loop {
            tokio::time::sleep(FRAME).await;
            let status = self.status();
            self.show(&scene, &status, load);
            if over.is_none() && is_over(&status, &revision) {
                over = Some(Instant::now());
                took = begun.elapsed();
            }
            let stays = if load.is_some() { AFTER } else { Duration::ZERO };
            if over.is_some_and(|at| at.elapsed() >= stays) || begun.elapsed() > LONGEST {
                let stable = status.stable_revision.as_ref().and_then(|r| self.versions.get(r));
                let stable = stable.map(ToString::to_string);
                return Ok(Ended { scene, phase: status.phase, stable, took });
            }
        }
    }

    fn status(&self) -> RolloutStatus {
        let saved = store::find(&self.dir, NAME, None).ok();
        saved.and_then(|saved| saved.rollout.status).unwrap_or_default()
    }

    fn show(&mut self, scene: &Scene, status: &RolloutStatus, load: Option<&Load>) {
        let new = status.decisions.iter().filter(|d| !self.told.contains(d));
        let new: Vec<DecisionRecord> = new.cloned().collect();
        self.told.extend(new.iter().cloned());
        let account = load.map(Load::account);
        let elapsed = load.map(Load::elapsed).unwrap_or_default();
        let (versions, told) = (&self.versions, &self.told);
        self.screen.draw(Shown {
            scene,
            status,
            versions,
            told,
            new: &new,
            account: account.as_ref(),
            elapsed,
        });
    }
}

/// Over: the wanted revision has all traffic and nothing else has pods, or it was aborted and its pods are gone.
fn is_over(status: &RolloutStatus, revision: &str) -> bool {
    let others =
        status.revisions.iter().filter(|r| status.stable_revision.as_deref() != Some(r.name.as_str()));
    let alone = others.map(|r| r.scale).all(|pods| pods == 0);
    let shipped = status.phase == Phase::Stable && status.stable_revision.as_deref() == Some(revision);
    let known = status.revisions.iter().any(|r| r.name == revision);
    alone && known && (shipped || status.phase == Phase::Aborted)
}

fn revision_of(text: &str) -> Result<String> {
    let Some(Ok(document)) = penstock_crds::read(text.as_bytes(), "checkout.yaml").pop() else {
        bail!("the demo's own manifest can't be read");
    };
    match document.rollout() {
        Ok((_, admitted)) => Ok(admitted.strategy.revision.to_string()),
        Err(refusals) => bail!("the demo's own manifest is refused: {refusals:?}"),
    }
}

/// Saving the file is applying it. It is replaced at once, so that no half of it is ever read.
fn write(dir: &Path, text: &str) -> Result<()> {
    let path = dir.join("checkout.yaml");
    let new = dir.join(".checkout.yaml.new");
    fs::write(&new, text)
        .and_then(|()| fs::rename(&new, &path))
        .with_context(|| format!("write {}", path.display()))
}
