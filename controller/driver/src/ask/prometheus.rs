//! Asks a Prometheus, or what speaks its query API.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use penstock_core::sample::{Answer, NoData, Question, Sample};
use penstock_core::time::Time;
use penstock_signals::{MAX_ANSWER, RolloutName, prometheus};
use prometheus_http_query::{Client, Error};
use reqwest::Url;

use super::{Access, SourceError};

/// Questions on their way at the same time.
const CONCURRENT: usize = 8;

/// One Prometheus server.
#[derive(Clone)]
pub struct PrometheusSource {
    client: Client,
    address: String,
    timeout: Duration,
}

impl PrometheusSource {
    /// Takes a base address (`http://prometheus.monitoring:9090`, with a path if there is one) and the time that
    /// a question may take. Nothing is sent yet.
    pub fn new(address: &str, timeout: Duration) -> Result<PrometheusSource, SourceError> {
        PrometheusSource::with(&Access::open(address, timeout))
    }

    /// As [`PrometheusSource::new`], with credentials and certificates. To be made anew when any of them changes.
    pub fn with(access: &Access) -> Result<PrometheusSource, SourceError> {
        let url = base(&access.address)?;
        let address = shown(&url);
        let client = Client::from(access.client()?, access.url(url)?.as_str().trim_end_matches('/'));
        let client = client.map_err(|e| unusable(&address, &e))?;
        Ok(PrometheusSource { client, address, timeout: access.timeout })
    }

    /// Asks all questions; each gets an answer, in their order. `now` is the time of asking.
    pub async fn ask(&self, rollout: &RolloutName, questions: &[Question], now: Time) -> Vec<Answer> {
        // Owned, as a borrowed item would tie these futures to one lifetime and no task could be spawned on them.
        let asked = questions.iter().cloned().map(|question| async move {
            let result = self.sample(rollout, &question, now).await;
            let result = result.map_err(|why| NoData(format!("Prometheus at {}: {why}", self.address)));
            Answer { metric: question.metric, revision: question.revision, result }
        });
        stream::iter(asked).buffered(CONCURRENT).collect().await
    }

    async fn sample(&self, rollout: &RolloutName, question: &Question, now: Time) -> Result<Sample, NoData> {
        let query = prometheus::query(question, rollout)?;
        let limit = i64::try_from(self.timeout.as_millis()).unwrap_or(i64::MAX);
        let sent = self.client.query(query).timeout(limit).post_raw().await;
        let response = sent.map_err(|e| NoData(reason(&e)))?;
        let status = response.status().as_u16();
        let body = super::body(response, MAX_ANSWER).await.map_err(NoData)?;
        prometheus::parse(question, &prometheus::reply(status, &body)?, now)
    }
}

fn reason(error: &Error) -> String {
    if let Error::Client(failed) = error {
        return failed.inner().map_or_else(|| failed.to_string(), super::reason);
    }
    error.to_string()
}

fn base(address: &str) -> Result<Url, SourceError> {
    let without_user = address.rsplit_once('@').map_or(address, |(_, host)| host);
    let url = Url::parse(address).map_err(|e| unusable(without_user, &e))?;
    let problem = match (url.scheme(), url.query(), url.fragment()) {
        ("http" | "https", None, None) => return Ok(url),
        ("http" | "https", _, _) => "it has a query or a fragment",
        _ => "it begins neither with http:// nor with https://",
    };
    Err(SourceError::Address { address: shown(&url), reason: problem.to_owned() })
}

fn unusable(address: &str, error: &dyn std::error::Error) -> SourceError {
    SourceError::Address { address: address.to_owned(), reason: error.to_string() }
}

/// The address without user and password: reasons end up in logs and in the Rollout's status.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // Fails for addresses that can't have any.
    let _ = url.set_username("").and_then(|()| url.set_password(None));
    url.as_str().trim_end_matches('/').to_owned()
}
