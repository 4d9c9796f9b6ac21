//! How a release is judged, as it is written.

// The schema derive makes a private copy of each type.
#![allow(unreachable_pub)]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::text::{DurationText, NumberText, PercentText, QuantileText};

/// How a release is judged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AnalysisSpec {
    /// Where the numbers come from. When left out: from the Prometheus that the controller is told of, if it is told
    /// of one, else from the proxies themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceSpec>,
    /// Time from one measurement to the next. 10s when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "10s"))]
    pub interval: Option<DurationText>,
    /// Requests that a step must have seen before it is passed. 50 when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1), extend("default" = 50))]
    pub min_requests: Option<i64>,
    /// How sure an abort is: with `99.9%`, at most one healthy step in 1,000 is aborted. `99.9%` when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "99.9%"))]
    pub confidence: Option<PercentText>,
    /// Bad measurements in a row that are tolerated, for queries of your own. 0 when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000), extend("default" = 0))]
    pub failure_limit: Option<i32>,
    /// What is measured. When left out: at most 1 % of errors. `[]`: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub metrics: Option<Vec<MetricSpec>>,
}

/// Where the numbers come from: Prometheus or the proxies.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.prometheus) != has(self.proxy)")
        .message("write either prometheus or proxy")
)]
pub struct SourceSpec {
    /// A Prometheus server that scrapes the proxies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<PrometheusSpec>,
    /// The proxies themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<ProxySpec>,
}

/// A Prometheus server. Secrets and ConfigMaps are read in the Rollout's own namespace only.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.bearerTokenSecret) || !has(self.basicAuthSecret)")
        .message("write either bearerTokenSecret or basicAuthSecret"),
    validation = Rule::new("!has(self.caSecret) || !has(self.caConfigMap)")
        .message("write either caSecret or caConfigMap"),
    validation = Rule::new("(!has(self.caSecret) && !has(self.caConfigMap)) || self.address.startsWith('https://')")
        .message("a CA is of no use without an address that begins with https://"),
    validation = Rule::new("!has(self.timeout) || !self.timeout.matches('^([0-9]+(ms|s|m|h))+$') || (duration(self.timeout) > duration('0s') && duration(self.timeout) <= duration('30s'))")
        .message("a timeout is above 0 and at most 30s")
)]
pub struct PrometheusSpec {
    /// Its address, for instance `http://prometheus.monitoring:9090`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required, length(max = 2048))]
    #[x_kube(
        validation = Rule::new("self.startsWith('http://') || self.startsWith('https://')")
            .message("an address begins with http:// or https://")
    )]
    pub address: Option<String>,
    /// A question without an answer after so long has no data. At most 30s; 5s when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "5s"))]
    pub timeout: Option<DurationText>,
    /// Where the token stands that is sent as `Authorization: Bearer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bearer_token_secret: Option<KeySpec>,
    /// The Secret whose keys `username` and `password` are sent: one of type `kubernetes.io/basic-auth`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basic_auth_secret: Option<SecretSpec>,
    /// Where the certificates stand (PEM) that alone are trusted to sign the server's. Those of the system when left
    /// out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_secret: Option<KeySpec>,
    /// As `caSecret`, in a ConfigMap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_config_map: Option<KeySpec>,
}

/// A key of a Secret or ConfigMap.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeySpec {
    /// The object's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required, length(min = 1, max = 253))]
    pub name: Option<String>,
    /// The key in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required, length(min = 1, max = 253))]
    pub key: Option<String>,
}

/// A Secret.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretSpec {
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required, length(min = 1, max = 253))]
    pub name: Option<String>,
}

/// The proxies themselves. There is nothing to set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProxySpec {}

/// One thing that is measured: `errorRate`, `latency` or `prometheus`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.errorRate), has(self.latency), has(self.prometheus)].exists_one(kind, kind)")
        .message("a metric is exactly one of errorRate, latency and prometheus")
)]
pub struct MetricSpec {
    /// Its name, unique within the Rollout.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required, length(min = 1, max = 63))]
    pub name: Option<String>,
    /// The share of failed requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_rate: Option<ErrorRateSpec>,
    /// The time to the response's head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<LatencySpec>,
    /// A query of your own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<QuerySpec>,
}

/// The share of failed requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ErrorRateSpec {
    /// Largest share allowed: `1%`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub max: Option<PercentText>,
}

/// The time to the response's head.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LatencySpec {
    /// Which request counts: `0.99` for p99.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub quantile: Option<QuantileText>,
    /// The longest that it may take: `500ms`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub max: Option<DurationText>,
}

/// A query of your own. Its value stays between `min` and `max`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.min) || has(self.max)")
        .message("without min and max nothing is judged: write one of them or both")
)]
pub struct QuerySpec {
    /// PromQL. `{{revision}}`, `{{stable}}`, `{{rollout}}` and `{{namespace}}` are filled in.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required, length(min = 1, max = 8192))]
    pub query: Option<String>,
    /// Smallest value allowed: `0.5`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<NumberText>,
    /// Largest value allowed: `5`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<NumberText>,
}
