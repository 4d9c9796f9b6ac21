//! Words from outside: gates that are asked, and times in which nothing is promoted.

// The schema derive makes a private copy of each type.
#![allow(unreachable_pub)]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::KeySpec;
use crate::text::DurationText;

/// A gate: the release stays until a webhook says go.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GateSpec {
    /// Who is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub webhook: Option<WebhookSpec>,
    /// Time from one question to the next. 100ms to 1h; 10s when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "10s"))]
    pub interval: Option<DurationText>,
    /// A release that is told to wait for so many seconds is aborted. Times in which the webhook gives no answer do not
    /// count. It waits for as long as it takes when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub timeout_seconds: Option<i32>,
}

/// A webhook. Secrets and ConfigMaps are read in the Rollout's own namespace only.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.url) != has(self.urlSecret)")
        .message("write either url or urlSecret"),
    validation = Rule::new("!has(self.caSecret) || !has(self.caConfigMap)")
        .message("write either caSecret or caConfigMap"),
    validation = Rule::new("(!has(self.caSecret) && !has(self.caConfigMap)) || !has(self.url) || self.url.startsWith('https://')")
        .message("a CA is of no use without an address that begins with https://"),
    validation = Rule::new("!has(self.timeout) || !self.timeout.matches('^([0-9]+(ms|s|m|h))+$') || (duration(self.timeout) > duration('0s') && duration(self.timeout) <= duration('30s'))")
        .message("a timeout is above 0 and at most 30s")
)]
pub struct WebhookSpec {
    /// Its address, for instance `https://ci.example.com/gate`. Redirects are not followed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    #[x_kube(
        validation = Rule::new("self.startsWith('http://') || self.startsWith('https://')")
            .message("an address begins with http:// or https://")
    )]
    pub url: Option<String>,
    /// Where its address stands, if that is a secret itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url_secret: Option<KeySpec>,
    /// A call without an answer after so long has none. At most 30s; 10s when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "10s"))]
    pub timeout: Option<DurationText>,
    /// Where the secret stands with which requests are signed, as Standard Webhooks has it: base64 after `whsec_`, or
    /// any other text as it is. Requests are not signed when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<KeySpec>,
    /// Where the certificates stand (PEM) that alone are trusted to sign the server's. Those of the system when left
    /// out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_secret: Option<KeySpec>,
    /// As `caSecret`, in a ConfigMap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_config_map: Option<KeySpec>,
}

/// A time that comes again and again, in which nothing is promoted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FreezeSpec {
    /// When it begins, as cron has it: minute, hour, day of the month, month, day of the week.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required, length(min = 1, max = 100))]
    pub schedule: Option<String>,
    /// The time zone of the schedule by its IANA name: `Europe/Berlin`. `UTC` when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), extend("default" = "UTC"))]
    pub time_zone: Option<String>,
    /// How long it lasts: `62h`. At most 720h.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub duration: Option<DurationText>,
    /// Why, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 200))]
    pub reason: Option<String>,
}

/// Who is told of what becomes of a release: `slack`, `teams` or `webhook`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.slack), has(self.teams), has(self.webhook)].exists_one(kind, kind)")
        .message("write one of slack, teams and webhook")
)]
pub struct NotifySpec {
    /// Its name, unique within the Rollout. It takes the place of a receiver of all Rollouts that has the same name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required, length(min = 1, max = 63))]
    pub name: Option<String>,
    /// An incoming webhook of Slack.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slack: Option<WebhookSpec>,
    /// A webhook of Microsoft Teams: the workflow that posts to a channel when a request is received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub teams: Option<WebhookSpec>,
    /// Any webhook: CloudEvents 1.0 as JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookSpec>,
    /// Which decisions are told, by their words: `Started`, `Advanced`, `Aborted` and so on. When left out: all but
    /// `Passed` and `Drained`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub events: Option<Vec<String>>,
    /// The text of a message. `{{namespace}}`, `{{rollout}}`, `{{revision}}`, `{{weight}}`, `{{what}}`, `{{why}}`,
    /// `{{who}}`, `{{sentence}}` and `{{link}}` are filled in. When left out: the name of the Rollout, what was decided
    /// and why, as a sentence, and the link.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2000))]
    pub template: Option<String>,
}
