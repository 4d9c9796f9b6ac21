//! Calls webhooks: signed, bounded, and believed no more than they say.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use penstock_core::time::Time;
use penstock_crds::{Address, Ca, KeyRef, Webhook};
use penstock_signals::signature::{ID, SIGNATURE, SigningSecret, TIMESTAMP};
use reqwest::header::{CONTENT_TYPE, USER_AGENT};
use reqwest::{Certificate, Client, Url};

use super::SourceError;

/// A call may take no longer, whatever is asked for.
const LONGEST: Duration = Duration::from_secs(30);

/// Where secrets and certificates of a Rollout stand. Errors are for people, with what to do.
pub trait Keys {
    /// The value of a key of a Secret of its own namespace.
    fn secret(&self, key: &KeyRef) -> impl Future<Output = Result<Vec<u8>, String>> + Send;

    /// The value of a key of a ConfigMap of its own namespace.
    fn config(&self, key: &KeyRef) -> impl Future<Output = Result<Vec<u8>, String>> + Send;
}

/// What calls webhooks.
#[derive(Clone, Debug)]
pub struct Hooks {
    client: Client,
}

/// One message for a webhook.
pub(crate) struct Message<'a> {
    /// Tells it from every other one.
    pub(crate) id: &'a str,
    /// The media type of the body.
    pub(crate) content_type: &'a str,
    /// The body.
    pub(crate) body: Vec<u8>,
    /// The time of sending.
    pub(crate) at: Time,
    /// Longest answer that is read, in bytes.
    pub(crate) limit: usize,
}

/// A webhook with all that it takes to call it. Its address is never printed: it may be a secret itself.
pub(crate) struct Target {
    url: Url,
    timeout: Duration,
    secret: Option<SigningSecret>,
    ca: Option<Vec<u8>>,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("host", &self.url.host_str()).finish_non_exhaustive()
    }
}

impl Target {
    /// Reads what a webhook names. Errors: what is missing, and what to do.
    pub(crate) async fn of(webhook: &Webhook, keys: &impl Keys) -> Result<Target, String> {
        let text = match &webhook.address {
            Address::Plain(url) => url.clone(),
            Address::Secret(key) => String::from_utf8(keys.secret(key).await?).unwrap_or_default(),
        };
        let url = Url::parse(text.trim()).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let url = url.ok_or("its address begins neither with http:// nor with https://, or is none")?;
        let secret = match &webhook.secret {
            None => None,
            Some(key) => {
                let read = SigningSecret::read(&keys.secret(key).await?);
                let told = |why| format!("the key `{}` of the Secret {}: {why}", key.key, key.name);
                Some(read.map_err(told)?)
            }
        };
        let ca = match &webhook.ca {
            None => None,
            Some(Ca::Secret(key)) => Some(keys.secret(key).await?),
            Some(Ca::ConfigMap(key)) => Some(keys.config(key).await?),
        };
        Ok(Target { url, timeout: webhook.timeout, secret, ca })
    }
}

/// The host of an address with its port, for people; its path may be a secret.
pub(crate) fn host(url: &str) -> String {
    let host = |url: Url| {
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        Some(format!("{}{port}", url.host_str()?))
    };
    Url::parse(url).ok().and_then(host).unwrap_or_else(|| "of an address that can't be used".to_owned())
}

impl Hooks {
    /// Makes one. Nothing is sent yet.
    pub fn new() -> Result<Hooks, SourceError> {
        Ok(Hooks { client: super::built(|| super::builder(LONGEST))? })
    }

    /// Sends a message, once. Returns the status of the answer and its body. Errors: no answer has come, in words.
    pub(crate) async fn post(&self, target: &Target, message: Message<'_>) -> Result<(u16, Vec<u8>), String> {
        let client = match &target.ca {
            None => self.client.clone(),
            Some(pem) => trusting(pem)?,
        };
        let Message { id, content_type, body, at, limit } = message;
        let seconds = at.0 / 1000;
        let mut request = client
            .post(target.url.clone())
            .timeout(target.timeout)
            .header(CONTENT_TYPE, content_type)
            .header(USER_AGENT, concat!("penstock/", env!("CARGO_PKG_VERSION")))
            .header(ID, id)
            .header(TIMESTAMP, seconds);
        if let Some(secret) = &target.secret {
            request = request.header(SIGNATURE, secret.sign(id, seconds, &body));
        }
        let response = request.body(body).send().await.map_err(|e| super::reason(&e.without_url()))?;
        let status = response.status().as_u16();
        Ok((status, super::body(response, limit).await?))
    }
}

fn trusting(pem: &[u8]) -> Result<Client, String> {
    let refuse = |why: String| format!("a CA that can't be used: {why}; expected certificates in PEM form");
    let found = Certificate::from_pem_bundle(pem).map_err(|e| refuse(super::root_cause(&e)))?;
    if found.is_empty() {
        return Err(refuse("there is no PEM certificate".to_owned()));
    }
    let client = super::builder(LONGEST).tls_certs_only(found).build();
    client.map_err(|e| refuse(super::root_cause(&e)))
}
