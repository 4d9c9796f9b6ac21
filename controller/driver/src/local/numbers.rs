//! Where the numbers of a Rollout come from.

use penstock_core::sample::{Answer, NoData, Question};
use penstock_crds::{Prometheus, Source};
use penstock_signals::RolloutName;

use super::world::Site;
use crate::ask::prometheus::PrometheusSource;
use crate::clock::now;

const NO_SECRETS: &str = "there are no Secrets and ConfigMaps in local mode: write an address that needs none, \
    http://USER:PASSWORD@HOST:9090 if it must be, or `source: {proxy: {}}`";

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
            Source::Default | Source::Proxy => Numbers::Proxies,
            Source::Prometheus(Prometheus { address, timeout, auth: None, ca: None }) => {
                match PrometheusSource::new(address, *timeout) {
                    Ok(source) => Numbers::Prometheus(source),
                    Err(error) => Numbers::Nobody(error.to_string()),
                }
            }
            Source::Prometheus(_) => Numbers::Nobody(NO_SECRETS.to_owned()),
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
