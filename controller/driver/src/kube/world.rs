//! The world of one Rollout on a cluster: what a turn asks, looks at, saves and does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::ResourceExt;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use penstock_core::decision::{Action, Decision, What};
use penstock_core::gate::GateQuestion;
use penstock_core::observation::{Observation, Pods, Report, Route};
use penstock_core::revision::Revision;
use penstock_core::sample::Question;
use penstock_core::split::Weight;
use penstock_core::state::State;
use penstock_core::time::Time;
use penstock_crds::{
    API_VERSION, Account, Admitted, Facts, KIND, Refusal, Rollout, RolloutSpec, RolloutStatus, Sticky,
    Trouble, admit, admit_value, barred, frozen, report,
};
use penstock_proxy_api::{Status, object};
use penstock_routers::apex::Apex;
use penstock_routers::gateway::{self, Shape};
use penstock_signals::RolloutName;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::acts::{self, Template};
use super::call::{CallError, Kind, call};
use super::cluster::{Cluster, Router};
use super::furnish::{Furniture, furnish, is_ours};
use super::numbers::Numbers;
use super::rollouts::Entry;
use super::trouble::{self, ADOPTING, NO_ROUTER, Troubles};
use super::wakers::Bell;
use super::{orders, replicas, sources};
use crate::asking::Asking;
use crate::clock::now;
use crate::gates::{self, Gates};
use crate::history::keep_traffic;
use crate::ports::{ActError, Record, SaveError, World};
use crate::post::{Recipient, Ring, recipients};
use crate::served;

/// What stands around a Rollout is looked at no more often.
const FURNISH_AGAIN: Duration = Duration::from_millis(50);

/// A write is tried at once so often when somebody else has written something else in between; then in the next turn.
const TRIES: usize = 8;

/// While routers don't know of all pods that are ready, they are asked this often.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Why a Rollout can't be tended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// Its text is refused: what is wrong with it.
    Refused(String),
    /// Routers have no port left.
    NoPort,
}

/// The world of one Rollout.
pub(super) struct KubeWorld {
    cluster: Arc<Cluster>,
    key: RolloutName,
    rollout: Rollout,
    admitted: Admitted,
    /// The spec that was admitted.
    spec: RolloutSpec,
    /// Why its present text is refused: an earlier one holds.
    problem: Option<String>,
    port: u16,
    /// As it is saved.
    status: RolloutStatus,
    saved: Value,
    numbers: sources::Sources,
    asking: Asking,
    gates: Gates,
    /// How many decisions there were when it was saved last.
    decided: u64,
    furnishing: Option<JoinHandle<Vec<Trouble>>>,
    furnished: Vec<Trouble>,
    furnished_at: Option<Instant>,
    troubles: Troubles,
    /// Whether all routers serve this Rollout.
    served: bool,
    /// When a pod has been ready for long enough, or routers may have heard of it.
    pub(super) ready_at: Option<Time>,
    /// Why orders that are there can't be taken, and for how many turns.
    untaken: Option<(Trouble, u32)>,
    bell: Arc<Bell>,
}

impl KubeWorld {
    /// The world of a Rollout, with what is remembered of it.
    pub(super) fn open(
        cluster: Arc<Cluster>,
        key: RolloutName,
        entry: &Entry,
        bell: Arc<Bell>,
    ) -> Result<(KubeWorld, State), Unfit> {
        let rollout = typed(entry)?;
        let (admitted, spec, problem) = fit(&rollout)?;
        let port = port(&cluster, &key).ok_or(Unfit::NoPort)?;
        let status = rollout.status.clone().unwrap_or_default();
        let state = remembered(&status);
        let world = KubeWorld {
            numbers: sources::Sources::new(Arc::clone(&cluster), key.namespace.clone()),
            cluster,
            key,
            rollout,
            admitted,
            spec,
            problem,
            port,
            saved: plain(&status),
            status,
            asking: Asking::default(),
            gates: Gates::default(),
            decided: state.decided,
            furnishing: None,
            furnished: Vec::new(),
            furnished_at: None,
            troubles: Troubles::default(),
            served: false,
            ready_at: None,
            untaken: None,
            bell,
        };
        Ok((world, state))
    }

    /// Takes over what was told of the Rollout since. `Some`: somebody else has saved a state, which holds.
    pub(super) fn take(&mut self, entry: &Entry) -> Option<State> {
        if self.rollout.resource_version().as_deref() == Some(&entry.version) {
            return None;
        }
        let rollout = match typed(entry) {
            Ok(rollout) => rollout,
            Err(Unfit::Refused(why)) => {
                self.problem = Some(why);
                return None;
            }
            Err(Unfit::NoPort) => return None,
        };
        if rollout.metadata.generation != self.rollout.metadata.generation {
            match admit(&rollout) {
                Ok(admitted) => {
                    if admitted.facts.gates != self.admitted.facts.gates {
                        self.gates.forget();
                    }
                    (self.admitted, self.spec, self.problem) = (admitted, rollout.spec.clone(), None);
                }
                Err(refusals) => self.problem = Some(exact(&rollout, &refusals)),
            }
        }
        let status = rollout.status.clone().unwrap_or_default();
        self.rollout = rollout;
        let before = std::mem::replace(&mut self.saved, plain(&status));
        self.status = status;
        let changed = before.get("machine") != self.saved.get("machine");
        let state = remembered(&self.status);
        self.decided = state.decided;
        changed.then_some(state)
    }

    /// What is remembered as it is saved.
    pub(super) fn saved_state(&self) -> State {
        remembered(&self.status)
    }

    /// Stands back for an earlier Rollout, or not any more.
    pub(super) fn stand_back(&mut self, clash: Option<String>) {
        if let Some(clash) = clash {
            self.problem = Some(clash);
        } else if self
            .problem
            .as_ref()
            .is_some_and(|p| p.starts_with("spec.service.name:") || p.starts_with("spec.selector: it takes"))
        {
            self.problem = None;
        }
    }

    /// What is released, and how.
    pub(super) fn strategy(&self) -> &penstock_core::strategy::Strategy {
        &self.admitted.strategy
    }

    fn facts(&self) -> &Facts {
        &self.admitted.facts
    }

    pub(super) fn uid(&self) -> String {
        self.rollout.uid().unwrap_or_default()
    }

    fn generation(&self) -> i64 {
        self.rollout.metadata.generation.unwrap_or(0)
    }

    fn shape(&self) -> Shape {
        let facts = self.facts();
        Shape {
            namespace: self.key.namespace.clone(),
            rollout: self.key.name.clone(),
            service: facts.service.name.clone(),
            port: facts.service.port,
            backend_port: facts.service.target_port,
            listen: Some(self.port),
            mark: facts.marks.as_ref().map(|m| (m.name.clone(), m.value.clone())),
            sticky: facts.sticky.as_ref().map(|sticky| match sticky {
                Sticky::Header(name) => gateway::Sticky::Header(name.clone()),
                Sticky::Cookie(name) => gateway::Sticky::Cookie(name.clone()),
            }),
            latency_limits: Facts::latency_limits(self.strategy()),
            timeout: facts.timeout,
        }
    }

    fn around(&self) -> Furniture {
        let facts = self.facts();
        let apex = Apex {
            namespace: self.key.namespace.clone(),
            rollout: self.key.name.clone(),
            name: facts.service.name.clone(),
            port: facts.service.port,
            target_port: self.port,
        };
        let owner = OwnerReference {
            api_version: API_VERSION.to_owned(),
            kind: KIND.to_owned(),
            name: self.key.name.clone(),
            uid: self.uid(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        };
        Furniture {
            key: self.key.clone(),
            owner,
            apex,
            backend_port: facts.service.target_port,
            app_protocol: facts.service.app_protocol.clone(),
            served: self.served,
        }
    }

    /// Has put right what stands around the Rollout. Returns at once, unless `wait` is asked for.
    pub(super) async fn furnish(&mut self, wait: bool) {
        if self.furnishing.as_ref().is_some_and(JoinHandle::is_finished) || wait {
            self.furnishing_done().await;
        }
        let lately =
            self.furnished.is_empty() && self.furnished_at.is_some_and(|at| at.elapsed() < FURNISH_AGAIN);
        if self.furnishing.is_none() && (!lately || wait) {
            self.furnished_at = Some(Instant::now());
            let (around, cluster, bell) = (self.around(), Arc::clone(&self.cluster), Arc::clone(&self.bell));
            let before = self.furnished.clone();
            self.furnishing = Some(tokio::spawn(async move {
                let troubles = furnish(cluster, around).await;
                if troubles != before {
                    bell.ring();
                }
                troubles
            }));
        }
        if wait {
            self.furnishing_done().await;
        }
    }

    /// Waits until what stands around the Rollout is put right.
    pub(super) async fn furnishing_done(&mut self) {
        if let Some(task) = self.furnishing.take() {
            self.furnished = task.await.unwrap_or_default();
        }
    }

    /// Whether somebody else has the Service, or the like: nothing is begun before that is settled.
    pub(super) fn is_barred(&self) -> bool {
        self.furnished.iter().any(|trouble| trouble.stalls && trouble.reason == "ServiceConflict")
    }

    /// Whether anything is in the way that nobody announces when it goes.
    pub(super) fn is_troubled(&self) -> bool {
        self.troubles.linger() || !self.outages().is_empty()
    }

    /// Whether all that was in the way is gone, and only the status does not say so yet.
    pub(super) fn is_over(&self) -> bool {
        self.troubles.are_over() && self.outages().is_empty()
    }

    /// Whether a Service is to be taken over as soon as that fails no request.
    pub(super) fn is_adopting(&self) -> bool {
        self.furnished.iter().any(|trouble| trouble.reason == ADOPTING)
    }

    /// Saves that nothing was done, and why.
    pub(super) async fn save_bar(&mut self) -> Result<(), SaveError> {
        let troubles = self.standing();
        let Some(bar) = troubles.iter().find(|trouble| trouble.stalls) else { return Ok(()) };
        let status = barred(self.generation(), bar, now(), &self.status);
        self.put(status).await
    }

    /// What is in the way now, whatever the turns do.
    fn standing(&self) -> Vec<Trouble> {
        // Somebody who writes all the time is in the way for a turn now and then.
        let untaken = self.untaken.iter().filter(|(_, turns)| *turns > 1).map(|(trouble, _)| trouble);
        let all = self.furnished.iter().chain(untaken).cloned();
        all.chain(self.outages()).chain(self.no_router()).collect()
    }

    /// What can't be watched.
    fn outages(&self) -> Vec<Trouble> {
        let outages = self.cluster.outages.all();
        outages.iter().filter_map(|(resource, error)| trouble::outage(resource, error)).collect()
    }

    /// Whether the status says that nobody serves the namespace.
    pub(super) fn lacks_routers(&self) -> bool {
        self.no_router().is_some()
    }

    /// Why nobody serves the namespace.
    fn no_router(&self) -> Option<Trouble> {
        let pods = self.cluster.routers.all(&Cluster::router_key(&self.key.namespace));
        if pods.iter().filter_map(|pod| Router::of(pod)).any(|router| router.ready) {
            return None;
        }
        let why = pods
            .iter()
            .find_map(|pod| Some(format!("{}: {}", pod.name_any(), replicas::why_unready(pod, now())?)));
        let why = why.unwrap_or_else(|| "there is none yet".to_owned());
        let namespace = &self.key.namespace;
        let message = format!(
            "no router of the namespace {namespace} is ready: {why}; see kubectl describe deployment penstock-router -n {namespace}"
        );
        Some(Trouble { reason: NO_ROUTER, message, stalls: false })
    }

    /// Claims orders that people have written since. Errors are for the next turn.
    async fn claim_orders(&mut self) {
        for problem in orders::problems(&self.rollout.metadata) {
            tracing::warn!(rollout = %self.key, "{problem}");
        }
        let id = || format!("{:013}-{:08x}", now().0, fastrand::u32(..));
        let Err(error) = self.patch(|metadata| orders::claims(metadata, id, now())).await else {
            self.untaken = None;
            return;
        };
        let turns = self.untaken.take().map_or(0, |(_, turns)| turns);
        if turns == 0 {
            tracing::warn!(rollout = %self.key, error = error.why, "orders can't be taken yet");
        }
        self.untaken = Some((trouble::call("orders can't be taken", &error), turns.saturating_add(1)));
    }

    /// Whether orders are there that could not be taken, but may be the next time.
    pub(super) fn has_orders(&self) -> bool {
        self.untaken.as_ref().is_some_and(|(trouble, _)| !trouble.stalls)
    }

    /// Changes the annotations as they were read, if `change` wants any; when that is refused, what is there is taken in,
    /// and changed: somebody who writes all the time leaves little time between a look and a write, less than a turn
    /// takes. Every other try minds nobody else's writes.
    async fn patch(
        &mut self,
        change: impl Fn(&ObjectMeta) -> Option<orders::Change>,
    ) -> Result<(), CallError> {
        let api = self.cluster.rollouts_in(&self.key.namespace);
        let mut metadata = self.rollout.metadata.clone();
        let mut attempt = 0;
        loop {
            let Some(change) = change(&metadata) else { return Ok(()) };
            attempt += 1;
            let by_values = attempt % 2 == 0;
            let patch: Patch<Value> = if by_values {
                let operations = serde_json::from_value(change.on_values());
                Patch::Json(operations.map_err(|e| CallError { kind: Kind::Invalid, why: e.to_string() })?)
            } else {
                Patch::Merge(change.on_version())
            };
            let params = PatchParams::default();
            let sent = api.patch(&self.key.name, &params, &patch);
            match call(&self.cluster.metrics, sent).await {
                Ok(written) => {
                    self.metadata_of(&written);
                    self.cluster.rollouts.put(written);
                    return Ok(());
                }
                Err(error) if error.kind == Kind::Conflict || by_values && error.kind == Kind::Invalid => {
                    let there = call(&self.cluster.metrics, api.get(&self.key.name)).await?;
                    let same = there.metadata.uid == metadata.uid;
                    metadata = there.metadata.clone();
                    self.cluster.rollouts.put(there);
                    if !same || attempt == TRIES {
                        return Err(CallError { kind: Kind::Conflict, ..error });
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes in what a write of ours has returned, if nothing else has changed with it.
    fn metadata_of(&mut self, written: &DynamicObject) {
        if written.metadata.generation == self.rollout.metadata.generation {
            self.rollout.metadata = written.metadata.clone();
        }
    }

    /// The routers that serve this Rollout, or may. Each with its report; `None` where it gives none.
    fn proxies(
        &self,
        routers: &[Router],
        mut said: BTreeMap<String, Option<Status>>,
    ) -> BTreeMap<String, Option<Report>> {
        let (namespace, name) = (self.key.namespace.as_str(), self.key.name.as_str());
        let mut proxies = BTreeMap::new();
        for router in routers {
            let status = said.remove(&router.admin).flatten();
            let entry = status.as_ref().and_then(|s| served::entry(s, namespace, name));
            if router.counts || entry.is_some() {
                let report = status.as_ref().map(|s| served::report(s, namespace, name));
                proxies.insert(router.admin.clone(), report);
            }
        }
        proxies
    }

    /// Whether every ready router listens for this Rollout and knows of all the pods that its stable revision is to
    /// have.
    fn is_served(
        &self,
        routers: &[Router],
        said: &BTreeMap<String, Option<Status>>,
        revisions: &BTreeMap<Revision, Pods>,
    ) -> bool {
        let Some(stable) = &self.status.stable_revision else { return false };
        let pods = revisions.iter().find(|(revision, _)| revision.as_str() == stable.as_str());
        let scale = pods.map_or(0, |(_, pods)| pods.scale).max(1);
        let serves = |router: &Router| {
            let status = said.get(&router.admin)?.as_ref()?;
            let entry = served::entry(status, &self.key.namespace, &self.key.name)?;
            Some(served::serves(entry, self.port, stable, scale))
        };
        let mut ready = routers.iter().filter(|router| router.ready).peekable();
        ready.peek().is_some() && ready.all(|router| serves(router).unwrap_or_default())
    }

    /// Pods count when routers know of them, too: an endpoint is told to a router after a pod is ready.
    fn revisions(&mut self, said: &BTreeMap<String, Option<Status>>) -> BTreeMap<Revision, Pods> {
        let (pods, now) = (self.cluster.pods.all(&self.key), now());
        let mut revisions = BTreeMap::new();
        self.ready_at = None;
        for set in self.cluster.replica_sets.all(&self.key) {
            let Some(revision) = replicas::revision(&set).filter(|_| is_ours(set.as_ref(), &self.uid()))
            else {
                continue;
            };
            let seen = replicas::pods_of(&set, &pods, now);
            self.ready_at = self.ready_at.into_iter().chain(seen.ready_at).min();
            let mut pods = seen.pods;
            let reached = said.values().flatten().filter_map(|status| {
                served::entry(status, &self.key.namespace, &self.key.name)?
                    .endpoints
                    .get(revision.as_str())
                    .copied()
            });
            let known = reached.fold(pods.ready, u32::min);
            if known < pods.ready {
                // Nobody tells when a router has heard of a pod.
                self.ready_at = self.ready_at.into_iter().chain([now + LOOK_AGAIN]).min();
            }
            pods.ready = known;
            if replicas::template_changed(&set) {
                let edited = format!(
                    "the template of the ReplicaSet {} was edited: its new pods are not of this revision; change spec.template of the Rollout instead, which makes a new one",
                    set.name_any()
                );
                pods.trouble =
                    Some(pods.trouble.map_or(edited.clone(), |trouble| format!("{trouble}; {edited}")));
            }
            revisions.insert(revision, pods);
        }
        revisions
    }

    fn route(&self) -> Route {
        if !self.cluster.routes.is_synced() {
            return Route::Unknown;
        }
        let Some(route) = self.cluster.routes.get(&self.key, &self.key.name) else { return Route::Absent };
        match gateway::read(&serde_json::to_value(&*route).unwrap_or_default()) {
            Ok(split) => Route::Found(split),
            Err(error) => {
                tracing::warn!(rollout = %self.key, %error, "the HTTPRoute is written anew");
                Route::Unknown
            }
        }
    }

    /// What of the HTTPRoute is ours and no weight is put right at once.
    async fn put_shape_right(&mut self) {
        let Some(route) = self.cluster.routes.get(&self.key, &self.key.name) else { return };
        let value = serde_json::to_value(&*route).unwrap_or_default();
        let Ok(split) = gateway::read(&value) else { return };
        let shape = self.shape();
        if !split.weights.is_empty() && !gateway::stands(&value, &split, &shape) {
            let done = acts::route(&self.cluster, &self.around(), &split, &shape).await;
            self.note("the HTTPRoute", done);
        }
    }

    fn note(&mut self, what: &str, done: Result<(), CallError>) {
        if let Err(error) = done {
            let trouble = trouble::act(what, &error);
            tracing::warn!(rollout = %self.key, "{}", trouble.message);
            self.troubles.failed(trouble);
        }
    }

    /// The status, with the pods one by one.
    fn report(&mut self, record: Record<'_>) -> RolloutStatus {
        let standing = self.standing();
        let troubles = self.troubles.tell(standing).to_vec();
        let findings = penstock_core::findings(record.strategy, record.state, record.seen, record.now);
        let account = Account {
            generation: self.generation(),
            selector: &selector(self.facts()),
            strategy: record.strategy,
            state: record.state,
            seen: record.seen,
            findings: &findings,
            notifications: &self.cluster.post.standing(&self.key),
            troubles: &troubles,
            problem: self.problem.as_deref(),
            now: record.now,
        };
        let mut status = report(account, &self.status);
        // A controller that comes after this one goes on with it, too.
        status.worked_on = self.problem.as_ref().and_then(|_| serde_json::to_value(&self.spec).ok());
        if self.asking.is_under_way() {
            keep_traffic(&self.status, &mut status);
        } else {
            self.cluster.histories.tell_of(&self.key, &mut status, record.now);
        }
        let pods = self.cluster.pods.all(&self.key);
        for revision in &mut status.revisions {
            let name = object::backend_of(&self.key.name, &revision.name);
            if let Some(set) = self.cluster.replica_sets.get(&self.key, &name) {
                revision.pods = replicas::statuses(&set, &pods, self.facts().service.target_port, record.now);
            }
        }
        status
    }

    /// Writes the status, if it is not there already, on the version that was read.
    async fn put(&mut self, status: RolloutStatus) -> Result<(), SaveError> {
        self.cluster.metrics.stands(&self.key, &status);
        let saved = plain(&status);
        if saved == self.saved {
            return Ok(());
        }
        let (mut version, generation) = (self.rollout.resource_version(), self.rollout.metadata.generation);
        let mut tries = 0..TRIES;
        let written = loop {
            let written = put_status(&self.cluster, &self.key, &self.uid(), version, &status).await;
            tries.next();
            let conflict = matches!(&written, Err(error) if error.kind == Kind::Conflict);
            version = if conflict && !tries.is_empty() { self.untouched().await } else { None };
            if version.is_none() {
                break written;
            }
        };
        match written {
            Ok(written) => {
                // Somebody may have written a new spec: then its event brings the rest.
                if written.metadata.generation == generation {
                    self.rollout.metadata = written.metadata.clone();
                }
                (self.status, self.saved) = (status, saved);
                self.cluster.rollouts.put(written);
                Ok(())
            }
            Err(error) if matches!(error.kind, Kind::Conflict | Kind::Missing) => {
                Err(SaveError::Conflict { what: self.key.to_string() })
            }
            Err(error) => Err(SaveError::Refused { what: self.key.to_string(), why: error.why }),
        }
    }

    /// The version that stands there now, if neither spec nor status have changed since they were read: what was decided
    /// on them holds. Somebody who writes labels or annotations all the time would win against every turn otherwise.
    async fn untouched(&self) -> Option<String> {
        let api = self.cluster.rollouts_in(&self.key.namespace);
        let there = call(&self.cluster.metrics, api.get_opt(&self.key.name)).await.ok()??;
        let status = there.data.get("status").cloned().unwrap_or_default();
        let status: RolloutStatus = serde_json::from_value(status).ok()?;
        let same = there.metadata.uid == self.rollout.metadata.uid
            && there.metadata.generation == self.rollout.metadata.generation
            && there.metadata.deletion_timestamp == self.rollout.metadata.deletion_timestamp
            && plain(&status) == self.saved;
        there.resource_version().filter(|_| same)
    }

    /// Reads the Rollout from the API server itself. `false`: it is gone.
    pub(super) async fn read(&mut self) -> bool {
        let api = self.cluster.rollouts_in(&self.key.namespace);
        match call(&self.cluster.metrics, api.get_opt(&self.key.name)).await {
            Ok(Some(there)) => {
                self.cluster.rollouts.put(there);
                true
            }
            Ok(None) => {
                self.cluster.rollouts.remove(&self.key);
                false
            }
            Err(error) => {
                tracing::debug!(rollout = %self.key, error = error.why, "can't be read");
                true
            }
        }
    }
}

impl World for KubeWorld {
    fn ask(&mut self, questions: Vec<Question>) {
        if questions.is_empty() || !self.asking.is_free() {
            return;
        }
        let (numbers, name, source) = (self.numbers.clone(), self.key.clone(), self.facts().source.clone());
        let (cluster, bell) = (Arc::clone(&self.cluster), Arc::clone(&self.bell));
        let answering = async move {
            let numbers: Numbers = numbers.of(&source).await;
            let serving = cluster.serving(&name.namespace);
            let admin: Vec<String> = serving.into_iter().filter(|r| r.counts).map(|r| r.admin).collect();
            numbers.answer(&cluster, &admin, &name, &questions).await
        };
        self.asking.ask(answering, move || bell.ring());
    }

    fn ask_gate(&mut self, question: GateQuestion) {
        let webhook = self.facts().gates.get(&question.asked.step).cloned();
        let (hooks, keys, name) = (self.cluster.hooks.clone(), self.numbers.clone(), self.key.clone());
        let who = self.cluster.options.name.clone();
        let answering = gates::ask(hooks, keys, name, webhook, question.clone(), who);
        let bell = Arc::clone(&self.bell);
        self.gates.ask(&question, answering, move || bell.ring());
    }

    async fn look(&mut self) -> Observation {
        self.troubles.begin();
        let routers = self.cluster.serving(&self.key.namespace);
        let admin: Vec<String> = routers.iter().map(|r| r.admin.clone()).collect();
        let cluster = Arc::clone(&self.cluster);
        let ((), said) = tokio::join!(self.claim_orders(), cluster.status.status(&admin));
        let revisions = self.revisions(&said);
        self.served = self.is_served(&routers, &said, &revisions);
        let proxies = self.proxies(&routers, said);
        Observation {
            revisions: Some(revisions),
            route: self.route(),
            proxies: Some(proxies),
            answers: self.asking.take(),
            gate: self.gates.take(),
            frozen: frozen(self.facts().freezes.iter().chain(&self.cluster.options.outside.freezes), now()),
            orders: orders::waiting(&self.rollout.metadata),
        }
    }

    async fn save(&mut self, record: Record<'_>) -> Result<(), SaveError> {
        let recipients = self.recipients();
        let receivers = recipients.iter().map(|recipient| &recipient.receiver);
        self.cluster.post.begin(&self.key, receivers, &self.status.notifications, self.decided);
        let status = self.report(record);
        self.put(status).await?;
        self.decided = record.state.decided;
        let (cluster, key) = (Arc::clone(&self.cluster), self.key.clone());
        let ring: Ring = Arc::new(move || cluster.wakers.wake(key.clone()));
        self.cluster.post.offer(&self.key, recipients, &record.state.decisions, &ring);
        Ok(())
    }

    async fn act(&mut self, action: &Action) -> Result<(), ActError> {
        let (cluster, around) = (Arc::clone(&self.cluster), self.around());
        let (operation, done) = match action {
            Action::Route(split) => {
                let done = acts::route(&cluster, &around, split, &self.shape()).await;
                (format!("route split {} of {}", split.generation, self.key), done)
            }
            Action::Scale { revision, replicas, generation } => {
                let mine = *revision == self.strategy().revision;
                let template = mine.then(|| Template {
                    facts: self.facts(),
                    min_ready_seconds: self.facts().min_ready_seconds,
                });
                let done = acts::scale(&cluster, &around, revision, (*replicas, *generation), template).await;
                (format!("scale {}-{revision} to {replicas}", self.key), done)
            }
            Action::Delete { revision, generation } => {
                let done = acts::delete(&cluster, &around, revision, *generation).await;
                (format!("delete {}-{revision}", self.key), done)
            }
            Action::Clear(id) => {
                let done = self.patch(|metadata| orders::clear(metadata, id)).await;
                (format!("clear order {id} of {}", self.key), done)
            }
        };
        done.map_err(|error| {
            self.troubles.failed(trouble::act(&operation, &error));
            ActError { operation, why: error.why }
        })
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
        self.cluster.metrics.told(&format!("{what:?}"));
        self.cluster.story.tell(&self.key, &self.uid(), decision);
    }
}

impl KubeWorld {
    /// Who is told of its decisions.
    fn recipients(&self) -> Vec<Recipient<sources::Sources>> {
        let options = &self.cluster.options;
        let common = sources::Sources::new(Arc::clone(&self.cluster), options.own_namespace.clone());
        recipients(&self.facts().receivers, &self.numbers, &options.outside.receivers, &common)
    }

    /// After a turn: what is not its business, and must not hold it up.
    pub(super) async fn tidy(&mut self) {
        self.put_shape_right().await;
    }
}

impl Drop for KubeWorld {
    fn drop(&mut self) {
        self.furnishing.iter().for_each(JoinHandle::abort);
    }
}

/// Writes a status as its own subresource, on one very version of the Rollout.
pub(super) async fn put_status(
    cluster: &Cluster,
    key: &RolloutName,
    uid: &str,
    version: Option<String>,
    status: &RolloutStatus,
) -> Result<DynamicObject, CallError> {
    let body = json!({
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": key.name, "namespace": key.namespace, "uid": uid, "resourceVersion": version},
        "status": status,
    });
    let object: DynamicObject =
        serde_json::from_value(body).map_err(|e| CallError { kind: Kind::Invalid, why: e.to_string() })?;
    let api = cluster.rollouts_in(&key.namespace);
    call(&cluster.metrics, api.replace_status(&key.name, &PostParams::default(), &object)).await
}

/// What is worked on: the spec as it stands, or, where that is refused, the one before that the status has kept.
fn fit(rollout: &Rollout) -> Result<(Admitted, RolloutSpec, Option<String>), Unfit> {
    let refusals = match admit(rollout) {
        Ok(admitted) => return Ok((admitted, rollout.spec.clone(), None)),
        Err(refusals) => exact(rollout, &refusals),
    };
    let before = rollout.status.as_ref().and_then(|status| status.worked_on.clone());
    let before = before.and_then(|spec| serde_json::from_value::<RolloutSpec>(spec).ok());
    let admitted = before.and_then(|spec| {
        let before = Rollout { spec, ..rollout.clone() };
        Some((admit(&before).ok()?, before.spec))
    });
    let Some((admitted, spec)) = admitted else { return Err(Unfit::Refused(refusals)) };
    Ok((admitted, spec, Some(refusals)))
}

/// A Rollout as the API has it. What has no such form is refused: it was stored under another definition.
pub(super) fn typed(entry: &Entry) -> Result<Rollout, Unfit> {
    let object = entry.object();
    serde_json::from_value(object.clone()).map_err(|error| {
        let refusals = admit_value(&object).err();
        Unfit::Refused(refusals.map_or_else(|| format!("spec: {error}"), |all| words(&all)))
    })
}

/// A status as an API server gives it back: it writes 1.0 as 1, and may leave out what is null.
fn plain(status: &RolloutStatus) -> Value {
    let mut value = serde_json::to_value(status).unwrap_or_default();
    flatten(&mut value);
    value
}

fn flatten(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, value| !value.is_null());
            members.values_mut().for_each(flatten);
        }
        Value::Array(items) => items.iter_mut().for_each(flatten),
        Value::Number(number) => {
            let whole = number.as_f64().filter(|f| number.is_f64() && f.fract() == 0.0 && f.abs() < 9e15);
            if let Some(whole) = whole {
                *value = Value::from(whole as i64);
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

fn remembered(status: &RolloutStatus) -> State {
    let machine = status.machine.clone().unwrap_or_default();
    serde_json::from_value(machine).unwrap_or_default()
}

/// Refusals, one a line, with the path of each field: what has no type in the API (the template) is looked at as it was
/// written.
fn exact(rollout: &Rollout, refusals: &[Refusal]) -> String {
    let written = serde_json::to_value(rollout).ok();
    let found = written.and_then(|object| admit_value(&object).err());
    words(found.as_deref().unwrap_or(refusals))
}

/// All refusals, one a line.
pub(super) fn words(refusals: &[Refusal]) -> String {
    refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// The port that routers listen on for a Rollout: the one that stands there, or a free one.
fn port(cluster: &Cluster, key: &RolloutName) -> Option<u16> {
    let route = cluster.routes.get(key, &key.name);
    let there = route.and_then(|route| route.annotations().get(object::LISTEN)?.parse::<u16>().ok());
    let range = penstock_routers::router::LISTEN;
    there
        .filter(|port| range.contains(port) && !cluster.has_port(key, *port))
        .or_else(|| cluster.port(key, |port| cluster.has_port(key, port)))
}

fn selector(facts: &Facts) -> String {
    let labels = facts.selector.match_labels.iter().flatten();
    labels.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
}
