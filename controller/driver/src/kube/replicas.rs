//! ReplicaSets: one for each revision. From what is wanted to the object, and from the object and its pods to what
//! the rollout machine sees. Nothing here does I/O.

mod plain;
mod trouble;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::{Pod, PodCondition, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time as Stamp};
use penstock_core::observation::Pods;
use penstock_core::revision::Revision;
use penstock_core::split::Generation;
use penstock_core::time::Time;
use penstock_crds::{Facts, PodStatus, Template, revision_of};
use penstock_proxy_api::object;
use penstock_routers::revision::labels;

/// Annotation of a ReplicaSet: digest of its pod template as the API server stored it.
pub const TEMPLATE_DIGEST: &str = "penstock.dev/template-digest";
/// Most pods of one revision that a status shows.
pub const MOST_STATUSES: usize = 20;

/// The pods of a revision as they are wanted.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// The Rollout, whose template is the revision's.
    pub facts: &'a Facts,
    /// The revision.
    pub revision: &'a Revision,
    /// How many pods.
    pub replicas: u32,
    /// The split that this was decided with.
    pub generation: Generation,
    /// A pod counts as ready when it has been for so long.
    pub min_ready_seconds: u32,
    /// The Rollout as the controller of the ReplicaSet.
    pub owner: OwnerReference,
}

/// What was seen of a revision's pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// What the rollout machine looks at.
    pub pods: Pods,
    /// When the next pod has been ready for long enough to count, if nothing happens before.
    pub ready_at: Option<Time>,
}

/// The ReplicaSet of a revision, named `<rollout>-<revision>`.
///
/// The template is the user's with two labels more; the selector is the user's and asks for these, too, so that no
/// revision takes pods of another one, or of the workload that ran before.
pub fn replica_set(wanted: &Wanted<'_>) -> ReplicaSet {
    let Wanted { facts, revision, replicas, generation, min_ready_seconds, owner } = wanted;
    let labels = labels(&facts.name, revision);
    let mut template = facts.template.clone();
    let metadata = template.metadata.get_or_insert_default();
    metadata.labels.get_or_insert_default().extend(labels.clone());
    let mut selector = facts.selector.clone();
    selector.match_labels.get_or_insert_default().extend(labels.clone());
    ReplicaSet {
        metadata: ObjectMeta {
            name: Some(object::backend_of(&facts.name, revision.as_str())),
            namespace: Some(facts.namespace.clone()),
            labels: Some(labels),
            annotations: Some([(object::GENERATION.to_owned(), generation.to_string())].into()),
            owner_references: Some(vec![owner.clone()]),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(number(*replicas)),
            min_ready_seconds: Some(number(*min_ready_seconds)).filter(|seconds| *seconds > 0),
            selector,
            template: Some(template),
        }),
        status: None,
    }
}

/// A digest of a pod template, to notice that somebody has changed it. Of a template that an API server has
/// returned: its defaults are part of it.
pub fn template_digest(template: &PodTemplateSpec) -> String {
    let value = serde_json::to_value(template).unwrap_or_default();
    revision_of(&Template(value)).map(|digest| digest.to_string()).unwrap_or_default()
}

/// Whether somebody has changed the template since its digest was written. A ReplicaSet without one has not changed.
pub fn template_changed(set: &ReplicaSet) -> bool {
    let written = annotation(set, TEMPLATE_DIGEST);
    let template = set.spec.as_ref().and_then(|spec| spec.template.as_ref());
    written.zip(template).is_some_and(|(written, template)| *written != template_digest(template))
}

/// The revision of a ReplicaSet, as its label has it.
pub fn revision(set: &ReplicaSet) -> Option<Revision> {
    Revision::new(set.metadata.labels.as_ref()?.get(object::REVISION)?.as_str()).ok()
}

/// The generation of the last order to scale that a ReplicaSet has heard of; 0 when it says none.
pub fn generation(set: &ReplicaSet) -> Generation {
    annotation(set, object::GENERATION)
        .and_then(|text| text.parse().ok())
        .map_or(Generation::default(), Generation)
}

/// What the rollout machine sees of a revision. `pods` may hold pods of others, too.
pub fn pods_of(set: &ReplicaSet, pods: &[Arc<Pod>], now: Time) -> Seen {
    let (patience, mine) = (patience(set), own(set, pods));
    let scale = set.spec.as_ref().and_then(|spec| spec.replicas).map_or(1, count);
    let present = mine.iter().filter(|pod| !is_over(pod)).count();
    let readiness = || mine.iter().map(|pod| readiness(pod, patience, now));
    let ready = readiness().filter(|readiness| *readiness == Readiness::Ready).count();
    let ready = u32::try_from(ready).unwrap_or(u32::MAX);
    // Pods may have been made that the watch has not told of yet.
    let made = set.status.as_ref().map_or(0, |status| count(status.replicas));
    let ready_at = |readiness| if let Readiness::From(at) = readiness { Some(at) } else { None };
    Seen {
        ready_at: readiness().filter_map(ready_at).min(),
        pods: Pods {
            scale,
            generation: generation(set),
            ready,
            present: u32::try_from(present).unwrap_or(u32::MAX).max(made),
            restarts: mine.iter().map(|pod| restarts(pod)).fold(0, u32::saturating_add),
            created: set.metadata.creation_timestamp.as_ref().map_or(Time(0), time),
            trouble: (ready < scale).then(|| trouble::of(set, &mine, scale, patience, now)).flatten(),
        },
    }
}

/// Why a pod is not ready, as a sentence; `None`: it is.
pub fn why_unready(pod: &Pod, now: Time) -> Option<String> {
    trouble::of_pod(pod, Duration::ZERO, now)
}

/// The pods of a revision one by one, those that are not ready before others, at most [`MOST_STATUSES`] of them.
/// `port` is where they listen.
pub fn statuses(set: &ReplicaSet, pods: &[Arc<Pod>], port: u16, now: Time) -> Vec<PodStatus> {
    let patience = patience(set);
    let mut all: Vec<PodStatus> =
        own(set, pods).into_iter().map(|pod| status(pod, port, patience, now)).collect();
    all.sort_by(|a, b| (a.ready, &a.name).cmp(&(b.ready, &b.name)));
    all.truncate(MOST_STATUSES);
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

fn status(pod: &Pod, port: u16, patience: Duration, now: Time) -> PodStatus {
    let ready = readiness(pod, patience, now) == Readiness::Ready;
    let ip = pod.status.as_ref().and_then(|status| status.pod_ip.as_deref()).unwrap_or_default();
    let address = if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") };
    PodStatus {
        name: name(pod).to_owned(),
        ready,
        restarts: number(restarts(pod)),
        address: Some(address).filter(|_| !ip.is_empty()),
        trouble: if ready { None } else { trouble::of_pod(pod, patience, now) },
    }
}

/// Whether a pod counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Readiness {
    Ready,
    /// It is ready, and counts from then on.
    From(Time),
    Not,
}

/// As Kubernetes has it: ready for `patience` without a break, and not on its way out.
fn readiness(pod: &Pod, patience: Duration, now: Time) -> Readiness {
    let ready = condition(pod, "Ready").filter(|condition| condition.status == "True");
    let Some(ready) = ready.filter(|_| !is_leaving(pod) && !is_over(pod)) else { return Readiness::Not };
    if patience.is_zero() {
        return Readiness::Ready;
    }
    match ready.last_transition_time.as_ref().map(|since| time(since) + patience) {
        Some(from) if from <= now => Readiness::Ready,
        Some(from) => Readiness::From(from),
        None => Readiness::Not,
    }
}

fn own<'a>(set: &ReplicaSet, pods: &'a [Arc<Pod>]) -> Vec<&'a Pod> {
    let uid = set.metadata.uid.as_deref().unwrap_or_default();
    let mine = |pod: &&Pod| {
        let mut owners = pod.metadata.owner_references.iter().flatten();
        !uid.is_empty() && owners.any(|owner| owner.controller == Some(true) && owner.uid == uid)
    };
    let mut mine: Vec<&Pod> = pods.iter().map(Arc::as_ref).filter(mine).collect();
    mine.sort_by(|a, b| name(a).cmp(name(b)));
    mine
}

fn restarts(pod: &Pod) -> u32 {
    let Some(status) = &pod.status else { return 0 };
    let all = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    all.map(|container| count(container.restart_count)).fold(0, u32::saturating_add)
}

/// It has ended for good: evicted, or refused by its node. A ReplicaSet makes another one in its place.
fn is_over(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Failed" | "Succeeded"))
}

fn is_leaving(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.iter().flatten().find(|condition| condition.type_ == kind)
}

fn annotation<'a>(set: &'a ReplicaSet, name: &str) -> Option<&'a String> {
    set.metadata.annotations.as_ref()?.get(name)
}

fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

fn patience(set: &ReplicaSet) -> Duration {
    let seconds = set.spec.as_ref().and_then(|spec| spec.min_ready_seconds).map_or(0, count);
    Duration::from_secs(seconds.into())
}

fn time(stamp: &Stamp) -> Time {
    Time(u64::try_from(stamp.0.as_millisecond()).unwrap_or(0))
}

/// A number that the API writes as `int32`; one below 0 is none.
fn count(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

fn number(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests;
