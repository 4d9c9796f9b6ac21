//! The world of one Rollout in a folder: what a turn asks, looks at, saves and does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use penstock_core::decision::{Action, Decision, What};
use penstock_core::gate::GateQuestion;
use penstock_core::observation::{Observation, Pods};
use penstock_core::revision::Revision;
use penstock_core::sample::Question;
use penstock_core::split::{Generation, Weight};
use penstock_core::state::State;
use penstock_crds::{Account, Admitted, Facts, Freeze, Receiver, RolloutStatus, Sticky, frozen, report};
use penstock_routers::gateway::{self, Shape};
use penstock_routers::service::Apex;
use penstock_signals::RolloutName;
use serde_json::Value;
use tokio::sync::Notify;

use super::files::FileError;
use super::home::{Home, Key};
use super::keys::LocalKeys;
use super::numbers::Numbers;
use super::orders::Orders;
use super::pods::{Group, Supervisor};
use super::revisions::{Kept, New, Revisions, Target};
use super::routes;
use super::saving::{self, Saving};
use super::shelf::Shelf;
use super::store::{Store, StoreError, Version};
use crate::ask::hook::Hooks;
use crate::ask::proxies::Proxies;
use crate::asking::Asking;
use crate::clock::now;
use crate::gates::{self, Gates};
use crate::history::{Histories, keep_traffic};
use crate::ports::{ActError, Record, SaveError, World};
use crate::post::{Post, Recipient, Ring, recipients};
use crate::served;

/// What all Rollouts of a folder share.
pub struct Site {
    /// The folder.
    pub home: Home,
    /// Rollouts with their status.
    pub store: Store,
    /// Orders that wait.
    pub orders: Orders,
    /// Templates that are kept.
    pub revisions: Revisions,
    /// The processes.
    pub supervisor: Supervisor,
    /// Asks the proxy for its status: short, it is next door.
    pub status: Proxies,
    /// Scrapes the proxy.
    pub scrape: Proxies,
    /// Calls webhooks.
    pub hooks: Hooks,
    /// When nothing is promoted, of whatever Rollout.
    pub freezes: Vec<Freeze>,
    /// Tells of decisions.
    pub post: Arc<Post>,
    /// Who is told of all Rollouts.
    pub receivers: Vec<Receiver>,
    /// Where the proxy answers.
    pub admin: String,
    /// The Rollouts as they stand, for who only looks.
    pub shelf: Shelf,
    /// What is measured of releases, for people.
    pub histories: Arc<Histories>,
}

/// What a person has applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// The object as it was written.
    pub object: Value,
    /// What it means.
    pub admitted: Admitted,
    /// The port on which the proxy listens for it.
    pub port: u16,
    /// Why a later text of it is refused.
    pub problem: Option<String>,
}

/// The world of one Rollout.
pub struct LocalWorld {
    site: Arc<Site>,
    key: Key,
    applied: Applied,
    generation: i64,
    numbers: Numbers,
    version: Version,
    status: RolloutStatus,
    saved: Option<(RolloutStatus, Value)>,
    saving: Option<Saving>,
    asking: Asking,
    gates: Gates,
    /// How many decisions there were when it was saved last.
    decided: u64,
    /// Woken when answers have come.
    pub answered: Arc<Notify>,
}

impl LocalWorld {
    /// The world of a Rollout that was applied, with what is remembered of it.
    ///
    /// Errors: its file is damaged beyond the version before, or can't be read.
    pub fn open(site: Arc<Site>, key: Key, applied: Applied) -> Result<(LocalWorld, State), StoreError> {
        let mut world = LocalWorld {
            numbers: Numbers::of(&applied.admitted.facts.source),
            site,
            key,
            applied,
            generation: 1,
            version: Version::default(),
            status: RolloutStatus::default(),
            saved: None,
            saving: None,
            asking: Asking::default(),
            gates: Gates::default(),
            decided: 0,
            answered: Arc::default(),
        };
        let state = world.read()?;
        world.adopt_revisions().map_err(StoreError::File)?;
        Ok((world, state))
    }

    /// Reads what is remembered, anew.
    pub fn read(&mut self) -> Result<State, StoreError> {
        let Some(saved) = self.site.store.load(&self.key)? else { return Ok(State::default()) };
        if let Some(warning) = &saved.warning {
            tracing::warn!(rollout = %self.key, "{warning}");
        }
        let object = saved.object;
        self.version = saved.version;
        let spec_changed = object.get("spec") != self.applied.object.get("spec");
        let before = object.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(0);
        self.generation = before + i64::from(spec_changed);
        self.site.shelf.put(&self.key, object.clone());
        let status = object.get("status").cloned().unwrap_or_default();
        self.status = serde_json::from_value(status).unwrap_or_default();
        let machine = self.status.machine.clone().unwrap_or_default();
        let state: State = serde_json::from_value(machine).unwrap_or_default();
        self.decided = state.decided;
        Ok(state)
    }

    /// Takes over what was applied since.
    pub fn apply(&mut self, applied: Applied) {
        if applied.object.get("spec") != self.applied.object.get("spec") {
            self.generation += 1;
        }
        if applied.admitted.facts.source != self.applied.admitted.facts.source {
            self.numbers = Numbers::of(&applied.admitted.facts.source);
        }
        if applied.admitted.facts.gates != self.applied.admitted.facts.gates {
            self.gates.forget();
        }
        let before = std::mem::replace(&mut self.applied, applied);
        if before.admitted.facts.min_ready_seconds != self.facts().min_ready_seconds
            && let Err(error) = self.adopt_revisions()
        {
            tracing::warn!(rollout = %self.key, %error, "minReadySeconds");
        }
    }

    /// What is released, and how.
    pub fn strategy(&self) -> &penstock_core::strategy::Strategy {
        &self.applied.admitted.strategy
    }

    /// The name of the Rollout.
    pub fn key(&self) -> &Key {
        &self.key
    }

    fn facts(&self) -> &Facts {
        &self.applied.admitted.facts
    }

    /// The supervisor hears of every revision that is kept, with the pods that were asked for last.
    fn adopt_revisions(&self) -> Result<(), FileError> {
        let listed = self.site.revisions.list(&self.key)?;
        for (_, problem) in &listed.problems {
            tracing::warn!(rollout = %self.key, "{problem}");
        }
        listed.revisions.into_iter().try_for_each(|(revision, kept)| self.supervise(&revision, kept))
    }

    fn supervise(&self, revision: &Revision, kept: Kept) -> Result<(), FileError> {
        let Kept { template, created, app_protocol, replicas, generation } = kept;
        let (key, revision) = (self.key.clone(), revision.clone());
        let min_ready = Duration::from_secs(self.facts().min_ready_seconds.into());
        let group = Group { key, revision, template, replicas, generation, created, app_protocol, min_ready };
        self.site.supervisor.scale(group)
    }

    fn shape(&self) -> Shape {
        let facts = self.facts();
        Shape {
            namespace: facts.namespace.clone(),
            rollout: facts.name.clone(),
            service: facts.service.name.clone(),
            port: facts.service.port,
            backend_port: facts.service.target_port,
            mark: facts.marks.as_ref().map(|m| (m.name.clone(), m.value.clone())),
            sticky: facts.sticky.as_ref().map(|sticky| match sticky {
                Sticky::Header(name) => gateway::Sticky::Header(name.clone()),
                Sticky::Cookie(name) => gateway::Sticky::Cookie(name.clone()),
            }),
            latency_limits: Facts::latency_limits(self.strategy()),
            timeout: facts.timeout,
            listen: None,
        }
    }

    fn apex(&self) -> Apex {
        let facts = self.facts();
        Apex {
            namespace: facts.namespace.clone(),
            rollout: facts.name.clone(),
            name: facts.service.name.clone(),
            port: facts.service.port,
            target_port: self.applied.port,
        }
    }

    fn scale(&self, revision: &Revision, target: Target) -> Result<(), String> {
        let strategy = self.strategy();
        let new = || {
            let facts = self.facts();
            let (template, app_protocol) = (facts.template.clone(), facts.service.app_protocol.clone());
            New { template, created: now(), app_protocol }
        };
        let new = (*revision == strategy.revision).then(new);
        let kept = self.site.revisions.scale(&self.key, revision, target, new);
        match kept.map_err(|e| e.to_string())? {
            Some(kept) => self.supervise(revision, kept).map_err(|e| e.to_string()),
            None => Err(format!("the template of revision {revision} is not kept any more; apply it again")),
        }
    }

    fn delete(&self, revision: &Revision, generation: Generation) -> Result<(), FileError> {
        if self.site.revisions.delete(&self.key, revision, generation)? {
            self.site.supervisor.delete(&self.key, revision);
        }
        Ok(())
    }

    fn object(&self, status: &RolloutStatus) -> Value {
        let mut object = self.applied.object.clone();
        object["metadata"]["namespace"] = Value::from(self.key.namespace());
        object["metadata"]["generation"] = Value::from(self.generation);
        object["status"] = serde_json::to_value(status).unwrap_or_default();
        object
    }

    async fn finish_saving(&mut self) -> Result<(), SaveError> {
        if let Some((version, saved)) = saving::finish(&mut self.saving, &self.key).await? {
            self.version = version;
            self.status.clone_from(&saved.0);
            self.saved = Some(saved);
        }
        Ok(())
    }

    /// The status, with the pods one by one.
    fn report(&self, record: Record<'_>) -> RolloutStatus {
        let findings = penstock_core::findings(record.strategy, record.state, record.seen, record.now);
        let account = Account {
            generation: self.generation,
            selector: &selector(self.facts()),
            strategy: record.strategy,
            state: record.state,
            seen: record.seen,
            findings: &findings,
            notifications: &self.site.post.standing(&rollout_name(&self.key)),
            troubles: &[],
            problem: self.applied.problem.as_deref(),
            now: record.now,
        };
        let mut status = report(account, &self.status);
        if self.asking.is_under_way() {
            keep_traffic(&self.status, &mut status);
        } else {
            self.site.histories.tell_of(&rollout_name(&self.key), &mut status, record.now);
        }
        for revision in &mut status.revisions {
            if let Ok(name) = Revision::new(revision.name.clone()) {
                revision.pods = self.site.supervisor.pods(&self.key, &name);
            }
        }
        status
    }
}

impl LocalWorld {
    async fn store(&mut self, record: Record<'_>) -> Result<(), SaveError> {
        self.finish_saving().await?;
        let status = self.report(record);
        let spec = self.applied.object.clone();
        if self.saved.as_ref().is_some_and(|(s, o)| *s == status && *o == spec) {
            return Ok(());
        }
        let (store, key, object, version) =
            (self.site.store.clone(), self.key.clone(), self.object(&status), self.version);
        // What was decided is seen, whatever the disk makes of it.
        self.site.shelf.put(&key, object.clone());
        self.saving = Some(Saving::begin((status, spec), move || store.save(&key, object, version)));
        self.finish_saving().await
    }

    /// Who is told. Secrets of those who are told of all Rollouts are in the namespace `penstock-system`.
    fn recipients(&self) -> Vec<Recipient<LocalKeys>> {
        let keys = LocalKeys::new(&self.site.home, self.key.namespace());
        let common = LocalKeys::new(&self.site.home, "penstock-system");
        recipients(&self.facts().receivers, &keys, &self.site.receivers, &common)
    }
}

impl World for LocalWorld {
    fn ask(&mut self, questions: Vec<Question>) {
        if questions.is_empty() || !self.asking.is_free() {
            return;
        }
        let (numbers, site, name) = (self.numbers.clone(), Arc::clone(&self.site), rollout_name(&self.key));
        let answered = Arc::clone(&self.answered);
        let answering = async move { numbers.answer(&site, &name, &questions).await };
        self.asking.ask(answering, move || answered.notify_one());
    }

    fn ask_gate(&mut self, question: GateQuestion) {
        let webhook = self.facts().gates.get(&question.asked.step).cloned();
        let (hooks, keys) = (self.site.hooks.clone(), LocalKeys::new(&self.site.home, self.key.namespace()));
        let (name, who) = (rollout_name(&self.key), "penstock local".to_owned());
        let answering = gates::ask(hooks, keys, name, webhook, question.clone(), who);
        let answered = Arc::clone(&self.answered);
        self.gates.ask(&question, answering, move || answered.notify_one());
    }

    async fn look(&mut self) -> Observation {
        let reports = self.site.status.status(std::slice::from_ref(&self.site.admin)).await;
        let proxies = reports.into_iter().map(|(name, status)| {
            (name, status.map(|s| served::report(&s, self.key.namespace(), self.key.name())))
        });
        let waiting = self.site.orders.waiting(&self.key).unwrap_or_else(|error| {
            tracing::warn!(rollout = %self.key, %error, "orders can't be read");
            Default::default()
        });
        for problem in &waiting.problems {
            tracing::warn!(rollout = %self.key, "{problem}");
        }
        let mut pods: BTreeMap<Revision, Pods> = BTreeMap::new();
        pods.extend(self.site.supervisor.look().remove(&self.key).unwrap_or_default());
        Observation {
            revisions: Some(pods),
            route: routes::look(&self.site.home, &self.key, &self.shape()),
            proxies: Some(proxies.collect()),
            answers: self.asking.take(),
            gate: self.gates.take(),
            frozen: frozen(self.facts().freezes.iter().chain(&self.site.freezes), now()),
            orders: waiting.orders,
        }
    }

    async fn save(&mut self, record: Record<'_>) -> Result<(), SaveError> {
        let (name, recipients) = (rollout_name(&self.key), self.recipients());
        let receivers = recipients.iter().map(|recipient| &recipient.receiver);
        self.site.post.begin(&name, receivers, &self.status.notifications, self.decided);
        self.store(record).await?;
        self.decided = record.state.decided;
        let answered = Arc::clone(&self.answered);
        let ring: Ring = Arc::new(move || answered.notify_one());
        self.site.post.offer(&name, recipients, &record.state.decisions, &ring);
        Ok(())
    }

    async fn act(&mut self, action: &Action) -> Result<(), ActError> {
        let (operation, done) = match action {
            Action::Route(split) => {
                let home = &self.site.home;
                let served = routes::serve(home, &self.key, &self.apex());
                let done = served.and_then(|()| routes::write(home, &self.key, split, &self.shape()));
                (format!("route split {} of {}", split.generation, self.key), done.map_err(|e| e.to_string()))
            }
            Action::Scale { revision, replicas, generation } => {
                let target = Target { replicas: *replicas, generation: *generation };
                (format!("scale {}-{revision} to {replicas}", self.key), self.scale(revision, target))
            }
            Action::Delete { revision, generation } => {
                let done = self.delete(revision, *generation).map_err(|e| e.to_string());
                (format!("delete {}-{revision}", self.key), done)
            }
            Action::Clear(id) => {
                let done = self.site.orders.clear(&self.key, id).map_err(|e| e.to_string());
                (format!("clear order {id} of {}", self.key), done)
            }
        };
        done.map_err(|why| ActError { operation, why })
    }

    fn tell(&mut self, decision: &Decision) {
        let Decision { what, why, who, revision, weight, .. } = decision;
        let revision = revision.as_ref().map(Revision::as_str);
        let weight = weight.map(Weight::percent);
        let rollout = self.key.to_string();
        if matches!(what, What::Aborted | What::Held | What::Repaired) {
            tracing::warn!(rollout, ?what, revision, weight, who, "{why}");
        } else {
            tracing::info!(rollout, ?what, revision, weight, who, "{why}");
        }
    }
}

pub(super) fn rollout_name(key: &Key) -> RolloutName {
    RolloutName { namespace: key.namespace().to_owned(), name: key.name().to_owned() }
}

fn selector(facts: &Facts) -> String {
    let labels = facts.selector.match_labels.iter().flatten();
    labels.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
}
