//! Ask: the network between questions and their answers.
//!
//! Whatever goes wrong out there becomes an answer that has no data, with the address and the reason. Every
//! request has a deadline, every body a limit, and no redirect is followed.

mod access;
pub mod hook;
pub mod prometheus;
pub mod proxies;

use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Response};

pub use access::{Access, Credentials};

/// A source that can't even be asked.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Not an address of a metric source.
    #[error(
        "`{address}` is no address of a Prometheus: {reason}; expected for instance http://prometheus:9090"
    )]
    Address {
        /// As it was given, without its password.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Nobody can be asked with these credentials.
    #[error(
        "credentials that can't be used: {0}; expected what the server gives out, without more around it"
    )]
    Credentials(String),
    /// Certificates that are none.
    #[error("a CA that can't be used: {0}; expected certificates in PEM form")]
    Certificates(String),
    /// The HTTP client could not be made.
    #[error("make an HTTP client")]
    Client(#[from] reqwest::Error),
}

/// What is the same for both kinds of source, with `timeout` for a whole request.
fn builder(timeout: Duration) -> ClientBuilder {
    rustls::crypto::ring::default_provider().install_default().ok();
    Client::builder().timeout(timeout).redirect(Policy::none()).no_proxy()
}

/// Where no certificate authorities are installed, plain HTTP still works.
fn built(builder: impl Fn() -> ClientBuilder) -> Result<Client, reqwest::Error> {
    builder().build().or_else(|_| builder().tls_certs_only([]).build())
}

/// Reads a body of at most so many bytes.
async fn body(mut response: Response, limit: usize) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| reason(&e))? {
        if body.len() + chunk.len() > limit {
            let size =
                if limit < 1 << 20 { format!("{} KiB", limit >> 10) } else { format!("{} MiB", limit >> 20) };
            return Err(format!("answers with more than {size}"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Why a request failed, in words for a person.
fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "gave no answer in time".to_owned();
    }
    let what = if error.is_connect() { "can't be reached" } else { "broke off" };
    format!("{what}: {}", root_cause(error))
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
