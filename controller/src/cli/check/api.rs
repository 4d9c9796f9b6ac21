//! Looks at objects of a cluster, and through its API server at what answers in pods and Services.

use std::time::Duration;

use form_urlencoded::byte_serialize;
use http::{Method, Request};
use http_body_util::{BodyExt, Limited};
use kube::Client;
use kube::client::Body;
use penstock_signals::MAX_ANSWER;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;

use crate::cli::paint::clean;

/// An answer that takes longer is none.
const PATIENCE: Duration = Duration::from_secs(10);
/// Objects of a list that are looked at.
const MOST: usize = 500;
/// Longest words of somebody else that are repeated, in characters.
const WORDS: usize = 300;

/// Asks an API server.
#[derive(Clone)]
pub(super) struct Api {
    client: Client,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// There is no such thing.
    Absent,
    /// We may not.
    Forbidden(String),
    /// It failed.
    Failed(String),
}

impl Denied {
    /// In words.
    pub(super) fn why(&self) -> &str {
        match self {
            Denied::Absent => "there is none",
            Denied::Forbidden(why) | Denied::Failed(why) => why,
        }
    }
}

/// What is behind an address.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

impl Reply {
    /// What it says, for people.
    pub(super) fn words(&self) -> String {
        clean(&String::from_utf8_lossy(&self.body)).chars().take(WORDS).collect()
    }
}

impl Api {
    pub(super) fn new(client: &Client) -> Api {
        Api { client: client.clone() }
    }

    /// An object.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Denied> {
        understood(self.send(Method::GET, path, Vec::new()).await?)
    }

    /// The objects of a list: the first 500.
    pub(super) async fn list<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, Denied> {
        let mark = if path.contains('?') { '&' } else { '?' };
        let mut list: Value = self.get(&format!("{path}{mark}limit={MOST}")).await?;
        let Some(Value::Array(items)) = list.get_mut("items").map(Value::take) else { return Ok(Vec::new()) };
        let typed = items.into_iter().map(serde_json::from_value).collect::<Result<_, _>>();
        typed.map_err(|error| Denied::Failed(format!("its answer can't be understood: {error}")))
    }

    /// What the API server makes of an object that is only a question, as a review is.
    pub(super) async fn ask(&self, path: &str, question: &Value) -> Result<Value, Denied> {
        let body = serde_json::to_vec(question).map_err(|error| Denied::Failed(error.to_string()))?;
        understood(self.send(Method::POST, path, body).await?)
    }

    /// What a pod answers on a port, asked by the API server. Errors: it can't be asked; not what it says.
    pub(super) async fn pod(
        &self,
        namespace: &str,
        name: &str,
        port: i32,
        page: &str,
    ) -> Result<Reply, Denied> {
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}:{port}/proxy/{page}");
        self.behind(&path).await
    }

    /// What is behind a path of the API server that leads to somebody else.
    pub(super) async fn behind(&self, path: &str) -> Result<Reply, Denied> {
        let reply = self.send(Method::GET, path, Vec::new()).await?;
        // The API server's own word, not that of whom it was to ask.
        match serde_json::from_slice::<Value>(&reply.body) {
            Ok(said) if said["kind"] == "Status" && said["apiVersion"] == "v1" => {
                Err(denied(reply.status, &said))
            }
            Ok(_) | Err(_) => Ok(reply),
        }
    }

    async fn send(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Reply, Denied> {
        let failed = |error: &dyn std::fmt::Display| Denied::Failed(clean(&error.to_string()));
        let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        let request = request.body(Body::from(body)).map_err(|error| failed(&error))?;
        let exchange = async {
            let response = self.client.send(request).await.map_err(|error| failed(&error))?;
            let status = response.status().as_u16();
            let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
            let body = body.map_err(|error| failed(&error))?.to_bytes().to_vec();
            Ok(Reply { status, body })
        };
        let late = |_| Denied::Failed(format!("no answer within {} s", PATIENCE.as_secs()));
        timeout(PATIENCE, exchange).await.map_err(late)?
    }
}

fn understood<T: DeserializeOwned>(reply: Reply) -> Result<T, Denied> {
    if !(200..300).contains(&reply.status) {
        return Err(denied(reply.status, &serde_json::from_slice(&reply.body).unwrap_or_default()));
    }
    let typed = serde_json::from_slice(&reply.body);
    typed.map_err(|error| Denied::Failed(format!("its answer can't be understood: {error}")))
}

fn denied(status: u16, said: &Value) -> Denied {
    let words: String = said["message"].as_str().map(clean).unwrap_or_default().chars().take(WORDS).collect();
    match status {
        404 => Denied::Absent,
        401 | 403 => Denied::Forbidden(words),
        _ if words.is_empty() => Denied::Failed(format!("it answers {status}")),
        _ => Denied::Failed(format!("it answers {status}: {words}")),
    }
}

/// A text as a value in a query.
pub(super) fn quoted(text: &str) -> String {
    byte_serialize(text.as_bytes()).collect()
}
