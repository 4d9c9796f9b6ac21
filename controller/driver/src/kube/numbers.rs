//! Where the numbers of a Rollout come from.

use penstock_core::sample::{Answer, NoData, Question};
use penstock_signals::RolloutName;

use super::cluster::Cluster;
use crate::ask::prometheus::PrometheusSource;
use crate::clock::now;

/// Where the numbers come from.
#[derive(Clone)]
pub(super) enum Numbers {
    /// From the routers themselves.
    Routers,
    /// From a Prometheus that scrapes them.
    Prometheus(PrometheusSource),
    /// From nobody: there is no asking, for this reason.
    Nobody(String),
}

impl Numbers {
    /// Asks; each question gets an answer. `admin` are the routers' admin listeners.
    pub(super) async fn answer(
        &self,
        cluster: &Cluster,
        admin: &[String],
        name: &RolloutName,
        questions: &[Question],
    ) -> Vec<Answer> {
        match self {
            Numbers::Routers => cluster.scrape.ask(admin, name, questions, now()).await,
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
