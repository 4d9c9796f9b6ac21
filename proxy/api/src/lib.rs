//! The contract between proxy and controller: metric names and labels, the status report, and the annotations
//! of an HTTPRoute that the proxy reads. This crate never does I/O.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Names of the series that the proxy exposes at `/metrics`, and of their labels.
///
/// All series of a revision exist at zero as soon as the proxy knows the revision, before its first request.
pub mod metric {
    /// Counter: requests that have ended. Labels: [`NAMESPACE`], [`ROLLOUT`], [`REVISION`], [`CODE`], [`CULPRIT`].
    pub const REQUESTS: &str = "penstock_requests_total";
    /// Histogram, seconds from the request's arrival to the response's head, or to the failure. Requests with
    /// culprit `client` are not in it. Labels: [`NAMESPACE`], [`ROLLOUT`], [`REVISION`].
    pub const LATENCY: &str = "penstock_request_latency_seconds";
    /// Gauge: requests in flight. Labels: [`NAMESPACE`], [`ROLLOUT`], [`REVISION`].
    pub const IN_FLIGHT: &str = "penstock_requests_in_flight";
    /// Gauge: the split's generation in effect. Labels: [`NAMESPACE`], [`ROLLOUT`].
    pub const GENERATION: &str = "penstock_split_generation";
    /// Gauge: share of the traffic in percent. Labels: [`NAMESPACE`], [`ROLLOUT`], [`REVISION`].
    pub const WEIGHT: &str = "penstock_split_weight_percent";

    /// Counter: requests that fell to another revision because their own had no endpoint. Labels: [`NAMESPACE`],
    /// [`ROLLOUT`], [`REVISION`] (the one that had none).
    pub const FALLOVERS: &str = "penstock_fallovers_total";
    /// Gauge: ready endpoints. Labels: [`NAMESPACE`], [`ROLLOUT`], [`REVISION`].
    pub const ENDPOINTS: &str = "penstock_endpoints_ready";
    /// Gauge: files or objects that can't be used as they stand, see [`super::Status::problems`].
    pub const PROBLEMS: &str = "penstock_proxy_problems";
    /// Gauge: open connections of clients.
    pub const CONNECTIONS: &str = "penstock_proxy_connections";

    /// The Rollout's namespace.
    pub const NAMESPACE: &str = "namespace";
    /// The Rollout's name.
    pub const ROLLOUT: &str = "rollout";
    /// The revision's name.
    pub const REVISION: &str = "revision";
    /// Class of the status sent to the client: `1xx` to `5xx`, or `none` when the client got no head.
    pub const CODE: &str = "code";
    /// Whose fault: see [`super::Culprit`].
    pub const CULPRIT: &str = "culprit";

    /// Upper edges of the latency histogram in seconds. The edges of a Rollout's limits come on top of these.
    pub const LATENCY_EDGES: [f64; 14] =
        [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
}

/// Header of the answers that a proxy makes itself: whose fault it is, as in [`Culprit::as_str`].
pub const HEADER_CULPRIT: &str = "x-penstock-culprit";

/// Whose fault an ended request is.
///
/// A canary is judged on requests with culprit `none` and `upstream`: the others say nothing about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Culprit {
    /// Nobody's: it ended well. A 4xx ends well.
    None,
    /// The client's: it hung up, or sent what can't be understood.
    Client,
    /// The revision's: a 5xx, a refused or lost connection, a timeout, a body cut short, a failing gRPC status.
    Upstream,
    /// The proxy's own: no route, overload.
    Proxy,
}

impl Culprit {
    /// All of them, in the order of the label's values.
    pub const ALL: [Culprit; 4] = [Culprit::None, Culprit::Client, Culprit::Upstream, Culprit::Proxy];

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Culprit::None => "none",
            Culprit::Client => "client",
            Culprit::Upstream => "upstream",
            Culprit::Proxy => "proxy",
        }
    }
}

/// Annotations, labels and names in the objects that controller and proxy share.
pub mod object {
    /// Annotation of an HTTPRoute: number of its split. A proxy keeps what it has when it reads a lower one.
    pub const GENERATION: &str = "penstock.dev/generation";
    /// Annotation of an HTTPRoute: limits in seconds, comma-separated, that need an edge in the histogram.
    pub const LATENCY_LIMITS: &str = "penstock.dev/latency-limits";
    /// Annotation of an HTTPRoute: `header:NAME` or `cookie:NAME`; equal values go to the same revision.
    pub const STICKY: &str = "penstock.dev/sticky";
    /// Annotation of an HTTPRoute: `NAME=VALUE` of the header that marks requests. The rule that asks for it, and
    /// has one backend, is the mark; without the annotation there is none.
    pub const MARK: &str = "penstock.dev/mark";
    /// Annotation of an HTTPRoute: the port on which proxies listen for its Rollout, in decimal digits. It comes
    /// before the `targetPort` of the Service that clients call.
    pub const LISTEN: &str = "penstock.dev/listen";
    /// Label of pods: what part of Penstock they are; [`ROUTER`] for proxies.
    pub const COMPONENT: &str = "penstock.dev/component";
    /// The value of [`COMPONENT`] of a proxy's pods.
    pub const ROUTER: &str = "router";
    /// Label of an HTTPRoute: the Rollout it belongs to; the HTTPRoute's own name when it is missing.
    pub const ROLLOUT: &str = "penstock.dev/rollout";
    /// Label of pods, Services and EndpointSlices: their revision.
    pub const REVISION: &str = "penstock.dev/revision";

    /// The revision behind a backend's Service name: what follows `<rollout>-`, or the whole name.
    pub fn revision_of<'a>(rollout: &str, backend: &'a str) -> &'a str {
        backend
            .strip_prefix(rollout)
            .and_then(|rest| rest.strip_prefix('-'))
            .filter(|r| !r.is_empty())
            .unwrap_or(backend)
    }

    /// The Service name of a revision: `<rollout>-<revision>`.
    pub fn backend_of(rollout: &str, revision: &str) -> String {
        format!("{rollout}-{revision}")
    }
}

/// What a proxy answers at `/status`, as JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Version of the proxy.
    pub version: String,
    /// Name of this proxy, unique among those of a Rollout: `--instance`, else the host's name.
    pub instance: String,
    /// Whether it is on its way out.
    pub draining: bool,
    /// What it serves.
    pub rollouts: Vec<RolloutStatus>,
    /// Files or objects that could not be used, and why; the last good table is kept.
    #[serde(default)]
    pub problems: Vec<String>,
}

/// What a proxy does for one Rollout.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStatus {
    /// The Rollout's namespace.
    pub namespace: String,
    /// The Rollout's name.
    pub name: String,
    /// The split in effect on every thread of the data plane.
    pub generation: u64,
    /// Share of each revision in percent, as in the HTTPRoute's rule without matches.
    pub weights: BTreeMap<String, u8>,
    /// The revision that marked requests go to, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marked: Option<String>,
    /// Requests in flight by revision, those to revisions that have left the table included.
    pub in_flight: BTreeMap<String, u64>,
    /// Ready endpoints by revision.
    pub endpoints: BTreeMap<String, u32>,
    /// The address that is listened on, if it could be opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
}
