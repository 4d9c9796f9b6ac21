//! Decisions as Events of Kubernetes: `kubectl describe` shows them. Nothing waits for them.

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use penstock_core::decision::{Decision, What};
use penstock_crds::{API_VERSION, KIND};
use penstock_signals::RolloutName;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Events that wait at most; further ones are left out, the decisions are in the status all the same.
const WAITING: usize = 1024;
/// Longest note that the API takes.
const LONGEST: usize = 1000;
/// The API server takes an event in this time, or it is left out.
const PATIENCE: Duration = Duration::from_secs(5);
/// What the events are written by.
const CONTROLLER: &str = "penstock.dev/controller";

/// Where decisions are told.
#[derive(Clone)]
pub(super) struct Story {
    events: Sender<Event>,
    instance: String,
}

impl Story {
    /// One that is told by `instance`, and what it is to be written from.
    pub(super) fn new(instance: String) -> (Story, Receiver<Event>) {
        let (events, waiting) = channel(WAITING);
        (Story { events, instance }, waiting)
    }

    /// Tells of a decision. Told twice, by whomever, it is one event: its name says which decision it is of.
    pub(super) fn tell(&self, key: &RolloutName, uid: &str, decision: &Decision) {
        let event = self.event(key, uid, decision);
        if self.events.try_send(event).is_err() {
            tracing::debug!(rollout = %key, "an event is left out: too many wait");
        }
    }

    fn event(&self, key: &RolloutName, uid: &str, decision: &Decision) -> Event {
        let what = format!("{:?}", decision.what);
        let bad = matches!(decision.what, What::Aborted | What::Held | What::Repaired | What::Refused);
        let at = i64::try_from(decision.at.0).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let name = format!("{}.{:x}.{}", key.name, decision.at.0, what.to_lowercase());
        let metadata =
            ObjectMeta { name: Some(name), namespace: Some(key.namespace.clone()), ..ObjectMeta::default() };
        let about = ObjectReference {
            api_version: Some(API_VERSION.to_owned()),
            kind: Some(KIND.to_owned()),
            name: Some(key.name.clone()),
            namespace: Some(key.namespace.clone()),
            uid: Some(uid.to_owned()),
            ..ObjectReference::default()
        };
        Event {
            action: Some(what.clone()),
            event_time: Some(MicroTime(at.unwrap_or_else(Timestamp::now))),
            metadata,
            note: Some(note(decision)),
            reason: Some(what),
            regarding: Some(about),
            reporting_controller: Some(CONTROLLER.to_owned()),
            reporting_instance: Some(self.instance.clone()),
            type_: Some(if bad { "Warning" } else { "Normal" }.to_owned()),
            ..Event::default()
        }
    }
}

fn note(decision: &Decision) -> String {
    let revision = decision.revision.as_ref().map(|r| format!("revision {r}")).unwrap_or_default();
    let weight = decision.weight.map(|w| format!(" at {w}")).unwrap_or_default();
    let who = if decision.who == "penstock" { String::new() } else { format!(" (by {})", decision.who) };
    let mut note = format!("{revision}{weight}: {}{who}", decision.why);
    if note.len() > LONGEST {
        let end = (0..=LONGEST).rev().find(|n| note.is_char_boundary(*n)).unwrap_or(0);
        note.truncate(end);
    }
    note
}

/// Writes events until nobody tells any more. One that is refused is left out.
pub(super) async fn write(client: Client, mut waiting: Receiver<Event>) {
    while let Some(event) = waiting.recv().await {
        let api: Api<Event> =
            Api::namespaced(client.clone(), event.metadata.namespace.as_deref().unwrap_or_default());
        let params = PostParams::default();
        let written = tokio::time::timeout(PATIENCE, api.create(&params, &event)).await;
        match written {
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => {}
            Ok(Err(error)) => tracing::debug!(%error, "an event is left out"),
            Err(_) => tracing::debug!("an event is left out: the API server gives no answer"),
            Ok(Ok(_)) => {}
        }
    }
}
