//! Asks the proxies themselves, at their admin listeners.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use penstock_core::sample::{Answer, NoData, Question};
use penstock_core::time::Time;
use penstock_proxy_api::Status;
use penstock_signals::proxy::{self, Exposition};
use penstock_signals::{MAX_ANSWER, RolloutName};
use reqwest::Client;

use super::SourceError;

/// Proxies that are asked at the same time.
const CONCURRENT: usize = 64;

/// What asks proxies.
#[derive(Clone)]
pub struct Proxies {
    client: Client,
}

impl Proxies {
    /// Makes one; each request may take `timeout`.
    pub fn new(timeout: Duration) -> Result<Proxies, SourceError> {
        Ok(Proxies { client: super::built(|| super::builder(timeout))? })
    }

    /// Asks all questions of all proxies; each question gets an answer, in their order. `admin` are the
    /// `host:port` of their admin listeners, `now` is the time of asking.
    ///
    /// A proxy that doesn't answer is missing from the answers: nobody knows what it counted.
    pub async fn ask(
        &self,
        admin: &[String],
        rollout: &RolloutName,
        questions: &[Question],
        now: Time,
    ) -> Vec<Answer> {
        let scraped = if questions.is_empty() { BTreeMap::new() } else { self.scrape(admin).await };
        let answer = |question: &Question| Answer {
            metric: question.metric.clone(),
            revision: question.revision.clone(),
            result: proxy::parse(question, rollout, &scraped, now),
        };
        questions.iter().map(answer).collect()
    }

    /// What each proxy reports; `None` for one that doesn't answer, or not in the form of a report.
    pub async fn status(&self, admin: &[String]) -> BTreeMap<String, Option<Status>> {
        // Owned, as a borrowed item would tie these futures to one lifetime and no task could be spawned on them.
        let reports = admin.iter().cloned().map(|address| async move {
            let report = self.get(&address, "status").await.and_then(|body| {
                serde_json::from_slice(&body).map_err(|e| format!("sends no status report: {e}"))
            });
            if let Err(why) = &report {
                tracing::debug!(proxy = address, why, "no report");
            }
            (address, report.ok())
        });
        stream::iter(reports).buffer_unordered(CONCURRENT).collect().await
    }

    /// What each proxy has counted, or why that is not known.
    pub async fn scrape(&self, admin: &[String]) -> BTreeMap<String, Result<Exposition, NoData>> {
        let scrapes = admin.iter().cloned().map(|address| async move {
            let told =
                self.exposition(&address).await.map_err(|why| NoData(format!("proxy {address} {why}")));
            (address, told)
        });
        stream::iter(scrapes).buffer_unordered(CONCURRENT).collect().await
    }

    async fn exposition(&self, address: &str) -> Result<Exposition, String> {
        let body = self.get(address, "metrics").await?;
        let text = std::str::from_utf8(&body).map_err(|_| "exposes metrics that are no UTF-8".to_owned())?;
        Exposition::parse(text).map_err(|e| format!("exposes metrics that can't be used: {e}"))
    }

    async fn get(&self, address: &str, page: &str) -> Result<Vec<u8>, String> {
        let sent = self.client.get(format!("http://{address}/{page}")).send().await;
        let response = sent.map_err(|e| super::reason(&e))?;
        let status = response.status();
        if status != reqwest::StatusCode::OK {
            return Err(format!("answers HTTP {} at /{page}; is this its admin address?", status.as_u16()));
        }
        super::body(response, MAX_ANSWER).await
    }
}
