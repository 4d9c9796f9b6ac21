//! The client in a pod, from outside.

use anyhow::{Context, Result};
use http::Request;
use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::{Value, json};

use super::place::Images;
use crate::traffic::Record;
use crate::wait::{PATIENCE, wait_until};

/// The port on which the client tells.
pub const CONTROL: u16 = 8080;

/// It ends by itself after so many seconds.
const AT_MOST: u32 = 600;

/// A client in a pod that calls a Service.
pub struct Caller {
    client: Client,
    namespace: String,
    name: String,
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Caller({self})")
    }
}

impl std::fmt::Display for Caller {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

impl Caller {
    /// Starts one that calls `target` (`host:port`) so often a second as soon as it answers.
    pub async fn start(
        (client, images): (Client, &Images),
        (namespace, name): (&str, &str),
        target: &str,
        rate: u32,
    ) -> Result<Caller> {
        let pod: Pod = serde_json::from_value(pod(name, images, target, rate)).context("the client's pod")?;
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        pods.create(&PostParams::default(), &pod).await.context("start the client")?;
        Ok(Caller { client, namespace: namespace.to_owned(), name: name.to_owned() })
    }

    /// What became of all requests but the first `skipped` to end.
    pub async fn record_from(&self, skipped: usize) -> Result<Record> {
        self.ask(&format!("record?from={skipped}")).await
    }

    /// What became of all requests so far.
    pub async fn record(&self) -> Result<Record> {
        self.record_from(0).await
    }

    /// Waits until the answers since the first `skipped` are as wanted; gives back all but those.
    pub async fn until(
        &self,
        what: &str,
        skipped: usize,
        wanted: impl Fn(&Record) -> bool,
    ) -> Result<Record> {
        wait_until(what, PATIENCE, async || {
            let record = self.record_from(skipped).await?;
            if wanted(&record) { Ok(record) } else { anyhow::bail!("{}", record.summary()) }
        })
        .await
    }

    /// Waits until requests are counted.
    pub async fn counts(&self) -> Result<()> {
        self.until("the client gets its first answers", 0, |record| record.0.len() >= 10).await?;
        Ok(())
    }

    /// Sends no more requests, waits for the answers that are due, and gives back all that became of them.
    pub async fn stop(self) -> Result<Record> {
        self.ask("stop").await?;
        self.record().await
    }

    async fn ask(&self, what: &str) -> Result<Record> {
        let Caller { namespace, name, .. } = self;
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}:{CONTROL}/proxy/{what}");
        let request = Request::get(path).body(Vec::new())?;
        self.client.request(request).await.with_context(|| format!("ask the client {self}"))
    }
}

fn pod(name: &str, images: &Images, target: &str, rate: u32) -> Value {
    let env = |name: &str, value: String| json!({"name": name, "value": value});
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"penstock-e2e": "client"}},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "restartPolicy": "Never",
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "client",
                "image": images.test,
                "command": ["/penstock-test-client"],
                "env": [
                    env("TARGET", target.to_owned()),
                    env("RATE", rate.to_string()),
                    env("AT_MOST", AT_MOST.to_string()),
                ],
                "ports": [{"containerPort": CONTROL}],
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            }],
        },
    })
}
