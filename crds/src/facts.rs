//! What the driver needs of a Rollout beside its strategy.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use penstock_core::decision::What;
use penstock_core::strategy::{Check, Strategy};

use crate::freeze::Freeze;
use crate::refusal::Refusal;

/// What the driver needs of a Rollout beside its strategy.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// The Rollout's namespace; `default` when it names none.
    pub namespace: String,
    /// The Rollout's name: at most 52 characters, valid in the name of a Service.
    pub name: String,
    /// The Service that clients call.
    pub service: Service,
    /// Which pods are the Rollout's; it matches the template's labels.
    pub selector: LabelSelector,
    /// The pod template, with one container at least.
    pub template: PodTemplateSpec,
    /// Where the numbers of errors and latency come from.
    pub source: Source,
    /// The webhooks of gates, by the index of their step.
    pub gates: BTreeMap<usize, Webhook>,
    /// When nothing is promoted.
    pub freezes: Vec<Freeze>,
    /// Who is told of decisions, beside those who are told of all Rollouts.
    pub receivers: Vec<Receiver>,
    /// The header that marks requests for the canary.
    pub marks: Option<HeaderMatch>,
    /// What makes requests stick to a revision.
    pub sticky: Option<Sticky>,
    /// A request that has no answer after so long fails.
    pub timeout: Option<Duration>,
    /// A pod counts when it has been ready for so many seconds without a break.
    pub min_ready_seconds: u32,
}

impl Facts {
    /// Limits that need an edge in the proxies' histograms, ascending, each once.
    pub fn latency_limits(strategy: &Strategy) -> Vec<Duration> {
        let limit = |check: &Check| match check {
            Check::Latency { limit, .. } => Some(*limit),
            Check::ErrorRate { .. } | Check::Value { .. } => None,
        };
        let mut limits: Vec<_> = strategy.analysis.metrics.iter().filter_map(|m| limit(&m.check)).collect();
        limits.sort_unstable();
        limits.dedup();
        limits
    }
}

/// The Service that clients call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// The port that clients call.
    pub port: u16,
    /// The port of the pods, a name of it looked up in the template.
    pub target_port: u16,
    /// What the pods speak, as a Service's `appProtocol` says it; `None`: nothing was written, so HTTP/1.1.
    pub app_protocol: Option<String>,
}

/// Where the numbers of errors and latency come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nothing is written: from the Prometheus that the controller is told of, if it is, else from the proxies.
    Default,
    /// The proxies themselves.
    Proxy,
    /// A Prometheus server.
    Prometheus(Prometheus),
}

/// A Prometheus server, and what it takes to be answered there. Objects that are named are of the Rollout's own
/// namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prometheus {
    /// Its address: `http://` or `https://` with a host, without `/` at the end.
    pub address: String,
    /// A question without an answer after so long has no data: above 0, at most 30 seconds.
    pub timeout: Duration,
    /// As whom it is asked.
    pub auth: Option<Auth>,
    /// Who alone may have signed its certificate; `None`: whom the system trusts.
    pub ca: Option<Ca>,
}

/// A webhook, and what it takes to call it. Objects that are named are of the Rollout's own namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Where it is.
    pub address: Address,
    /// A call without an answer after so long has none: above 0, at most 30 seconds.
    pub timeout: Duration,
    /// Where the secret stands with which calls are signed; `None`: they are not.
    pub secret: Option<KeyRef>,
    /// Who alone may have signed its certificate; `None`: whom the system trusts.
    pub ca: Option<Ca>,
}

/// The address of a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `http://` or `https://` with a host, without user and password.
    Plain(String),
    /// It stands in this key of a Secret.
    Secret(KeyRef),
}

/// Who is told of decisions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiver {
    /// Its name.
    pub name: String,
    /// What it understands.
    pub kind: ReceiverKind,
    /// Where it is.
    pub webhook: Webhook,
    /// What it is told of.
    pub events: Vec<What>,
    /// The text of a message, with placeholders; `None`: the usual one.
    pub template: Option<String>,
}

/// What a receiver understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiverKind {
    /// Slack.
    Slack,
    /// Microsoft Teams.
    Teams,
    /// CloudEvents.
    Webhook,
}

impl ReceiverKind {
    /// Its word in a spec.
    pub fn as_str(self) -> &'static str {
        match self {
            ReceiverKind::Slack => "slack",
            ReceiverKind::Teams => "teams",
            ReceiverKind::Webhook => "webhook",
        }
    }
}

impl Receiver {
    /// A receiver as it is written for all Rollouts: a YAML text with the fields of `spec.notify`.
    ///
    /// Errors: all that is wrong with it.
    pub fn read(text: &str) -> Result<Receiver, Vec<Refusal>> {
        crate::admit::receiver_of(text)
    }
}

/// As whom a Prometheus server is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// With the token in this key of a Secret.
    Bearer(KeyRef),
    /// With the keys `username` and `password` of this Secret.
    Basic(String),
}

/// Where certificates (PEM) stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ca {
    /// In this key of a Secret.
    Secret(KeyRef),
    /// In this key of a ConfigMap.
    ConfigMap(KeyRef),
}

/// A key of a Secret or ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRef {
    /// The object's name.
    pub name: String,
    /// The key in it.
    pub key: String,
}

/// A header with a whole value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderMatch {
    /// The header's name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// What makes requests stick to a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sticky {
    /// The value of this header.
    Header(String),
    /// The value of this cookie.
    Cookie(String),
}
