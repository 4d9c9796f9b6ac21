//! Where the numbers of a Rollout come from.

use std::time::Duration;

use penstock_core::sample::{Answer, NoData, Question};
use penstock_crds::Source;
use penstock_signals::RolloutName;

use super::world::{Site, now};
use crate::ask::prometheus::PrometheusSource;

/// A metric source answers in this time, or has no data.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Where the numbers come from.
#[derive(Clone)]
pub(super) enum Numbers {
    /// From the proxy itself.
    Proxies,
    /// From a Prometheus that scrapes it.
    Prometheus(PrometheusSource),
    /// From nobody: there is no asking, for this reason.
    Nobody(String),
}

impl Numbers {
    /// The source that a spec names.
    pub(super) fn of(source: &Source) -> Numbers {
        match source {
            Source::Proxy => Numbers::Proxies,
            Source::Prometheus { address } => match PrometheusSource::new(address, TIMEOUT) {
                Ok(source) => Numbers::Prometheus(source),
                Err(error) => Numbers::Nobody(error.to_string()),
            },
        }
    }

    /// Asks; each question gets an answer.
    pub(super) async fn answer(self, site: &Site, name: &RolloutName, questions: &[Question]) -> Vec<Answer> {
        let admin = std::slice::from_ref(&site.admin);
        match self {
            Numbers::Proxies => site.scrape.ask(admin, name, questions, now()).await,
            Numbers::Prometheus(source) => source.ask(name, questions, now()).await,
            Numbers::Nobody(why) => {
                let silent = |q: &Question| Answer {
                    metric: q.metric.clone(),
                    revision: q.revision.clone(),
                    result: Err(NoData(why.clone())),
                };
                questions.iter().map(silent).collect()
            }
        }
    }
}
