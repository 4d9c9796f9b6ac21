//! Why pods are not ready: the most telling sentence of all that can be said.
//!
//! No sentence holds anything that changes by itself, such as how long ago something was: a status is written when
//! something has happened, not when time passes.

mod container;

use std::time::Duration;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time as Stamp;
use penstock_core::time::Time;

use super::plain::plain;
use super::{Readiness, condition, count, is_leaving, is_over, name, readiness, restarts};

/// How much a sentence tells, the most telling first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// A person has to change the template or what it names.
    Refused,
    /// The image is not to be had.
    Image,
    /// It ends again and again.
    Crash,
    /// No node has room for it.
    Unschedulable,
    /// Its node has thrown it out.
    Over,
    /// It runs and is not ready.
    Unready,
    /// It is being made.
    Starting,
    /// It is ready, and not for long enough.
    Fresh,
}

/// A sentence about a pod or a container.
type Said = (Rank, String);

/// Why the pods of a ReplicaSet are not all ready. `scale` are wanted.
pub(super) fn of(
    set: &ReplicaSet,
    pods: &[&Pod],
    scale: u32,
    patience: Duration,
    now: Time,
) -> Option<String> {
    let staying = || pods.iter().filter(|pod| !is_leaving(pod));
    let active = u32::try_from(staying().filter(|pod| !is_over(pod)).count()).unwrap_or(u32::MAX);
    if let Some(failure) = failure(set).filter(|_| active < scale) {
        return Some(failure);
    }
    let unready = staying().filter_map(|pod| Some((pod, said(pod, patience, now)?)));
    let most_telling =
        unready.min_by_key(|(pod, (rank, _))| (*rank, std::cmp::Reverse(restarts(pod)), name(pod)));
    match most_telling {
        Some((pod, (_, said))) => Some(format!("{}: {said}", name(pod))),
        None if active < scale => Some(format!("{} of {scale} pods are not made yet", scale - active)),
        None => None,
    }
}

/// Why one pod is not ready.
pub(super) fn of_pod(pod: &Pod, patience: Duration, now: Time) -> Option<String> {
    if is_leaving(pod) {
        return Some("it is on its way out".to_owned());
    }
    said(pod, patience, now).map(|(_, said)| said)
}

/// What keeps the ReplicaSet from making pods: a quota, a webhook, Pod Security, a missing ServiceAccount.
fn failure(set: &ReplicaSet) -> Option<String> {
    let mut conditions = set.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let failure = conditions.find(|c| c.type_ == "ReplicaFailure" && c.status == "True")?;
    let why =
        failure.message.as_deref().or(failure.reason.as_deref()).unwrap_or("for no reason that is told");
    Some(format!("no pod can be made: {}", plain(why)))
}

fn said(pod: &Pod, patience: Duration, now: Time) -> Option<Said> {
    match readiness(pod, patience, now) {
        Readiness::Ready => return None,
        Readiness::From(at) => {
            let seconds = patience.as_secs();
            return Some((
                Rank::Fresh,
                format!("it is ready, and counts from {} on (minReadySeconds: {seconds})", spoken(at)),
            ));
        }
        Readiness::Not => {}
    }
    let by_container = container::most_telling(pod);
    let all = [over(pod), unscheduled(pod), by_container, ungated(pod), lost(pod)];
    all.into_iter()
        .flatten()
        .min_by_key(|(rank, _)| *rank)
        .or_else(|| Some((Rank::Starting, "it is starting".to_owned())))
}

fn over(pod: &Pod) -> Option<Said> {
    let status = pod.status.as_ref().filter(|_| is_over(pod))?;
    let reason = status.reason.as_deref().or(status.phase.as_deref()).unwrap_or_default();
    let said = format!("it has ended ({}){}", plain(reason), behind(status.message.as_deref()));
    Some((Rank::Over, said))
}

fn unscheduled(pod: &Pod) -> Option<Said> {
    let condition = condition(pod, "PodScheduled").filter(|condition| condition.status == "False")?;
    let message = behind(condition.message.as_deref());
    Some(match condition.reason.as_deref() {
        Some("SchedulingGated") => (Rank::Unschedulable, format!("its scheduling gates are closed{message}")),
        Some(_) | None => (Rank::Unschedulable, format!("no node takes it{message}")),
    })
}

/// A readiness gate that somebody else has to open.
fn ungated(pod: &Pod) -> Option<Said> {
    let gates = pod.spec.iter().flat_map(|spec| spec.readiness_gates.iter().flatten());
    let mut closed = gates.filter(|gate| {
        condition(pod, &gate.condition_type).is_none_or(|condition| condition.status != "True")
    });
    let gate = plain(&closed.next()?.condition_type);
    containers_ready(pod).then(|| (Rank::Unready, format!("its readiness gate {gate} is closed")))
}

/// All that is in it is ready, and it is not: that is what becomes of pods whose node is silent.
fn lost(pod: &Pod) -> Option<Said> {
    let ready = condition(pod, "Ready").filter(|_| containers_ready(pod))?;
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref())?;
    let since = since(ready.last_transition_time.as_ref());
    Some((
        Rank::Starting,
        format!("it is not ready{since}, though its containers are: its node {node} may be lost"),
    ))
}

fn containers_ready(pod: &Pod) -> bool {
    condition(pod, "ContainersReady").is_some_and(|condition| condition.status == "True")
}

fn behind(message: Option<&str>) -> String {
    message
        .map(plain)
        .filter(|message| !message.is_empty())
        .map(|message| format!(": {message}"))
        .unwrap_or_default()
}

fn since(stamp: Option<&Stamp>) -> String {
    stamp.map(|stamp| format!(" since {}", stamp.0)).unwrap_or_default()
}

fn spoken(time: Time) -> String {
    let millis = i64::try_from(time.0).unwrap_or(i64::MAX);
    k8s_openapi::jiff::Timestamp::from_millisecond(millis).map(|at| at.to_string()).unwrap_or_default()
}
