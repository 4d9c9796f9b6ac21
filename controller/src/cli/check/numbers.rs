//! Where the numbers come from, asked as the controller asks: a Prometheus, or the routers themselves.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use http::Uri;
use penstock_core::revision::Revision;
use penstock_core::sample::{Answer, Asks, NoData, Question, Reading, Sample};
use penstock_core::strategy::{Check, Metric};
use penstock_driver::ask::prometheus::PrometheusSource;
use penstock_signals::proxy::{self, Exposition};
use penstock_signals::{RolloutName, prometheus};

use super::api::{Api, Denied, Reply, quoted};
use super::report::{Finding, counted};
use crate::cli::now;

/// A Prometheus that is asked directly answers within this time.
const PATIENCE: Duration = Duration::from_secs(5);
/// Proxies that are scraped. Each has this series from its first moment on.
const SCRAPED: &str = "count(count by (instance) (penstock_proxy_problems)) or vector(0)";
/// What to do where a Prometheus lacks the routers.
const SCRAPE: &str =
    "have it scrape the pods with the label penstock.dev/component=router at port 9901, all of them";

/// A Prometheus, and how it is reached from here.
pub(super) struct Source<'a> {
    pub(super) api: &'a Api,
    pub(super) address: &'a str,
    /// The controller's namespace: where a Service without one is looked for.
    pub(super) home: &'a str,
}

/// A Service of the cluster behind an address.
#[derive(Debug, PartialEq, Eq)]
struct Behind {
    namespace: String,
    service: String,
    scheme: String,
    port: u16,
    /// What stands behind the host, without `/` at its end.
    prefix: String,
}

/// What came of asking.
pub(super) type Asked = Result<Sample, Silent>;

/// Why there is no number.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Silent {
    /// It can't be asked from here. That says nothing about the controller.
    FromHere(String),
    /// It has none.
    NoData(String),
}

impl Source<'_> {
    /// Whether it answers, and how many of the routers it scrapes.
    pub(super) async fn reach(&self, routers: usize) -> Finding {
        let nobody = Revision::new("none".to_owned());
        let Ok(nobody) = nobody else { return Finding::warning("no question", "report this") };
        let question = Question {
            metric: "scraped".to_owned(),
            revision: nobody.clone(),
            stable: nobody,
            asks: Asks::Value(SCRAPED.to_owned()),
        };
        let name = RolloutName { namespace: "none".to_owned(), name: "none".to_owned() };
        scraped(self.address, routers, &self.ask(&name, &question).await)
    }

    /// Asks one question.
    pub(super) async fn ask(&self, name: &RolloutName, question: &Question) -> Asked {
        let Some(behind) = behind(self.address, self.home) else {
            return self.directly(name, question).await;
        };
        let Behind { namespace, service, scheme, port, prefix } = behind;
        let query = prometheus::query(question, name).map_err(|NoData(why)| Silent::NoData(why))?;
        let path = format!(
            "/api/v1/namespaces/{namespace}/services/{scheme}:{service}:{port}/proxy{prefix}/api/v1/query?query={}",
            quoted(&query)
        );
        match self.api.behind(&path).await {
            Ok(reply) => read(question, &reply),
            // A host of two words may be none of the cluster's.
            Err(Denied::Absent) => self.directly(name, question).await,
            Err(Denied::Forbidden(why)) => Err(Silent::FromHere(format!(
                "you may not ask through the API server (get services/proxy in namespace {namespace}: {why})"
            ))),
            Err(Denied::Failed(why)) => Err(Silent::FromHere(format!("through the API server: {why}"))),
        }
    }

    async fn directly(&self, name: &RolloutName, question: &Question) -> Asked {
        let source = PrometheusSource::new(self.address, PATIENCE);
        let source = source.map_err(|error| Silent::NoData(error.to_string()))?;
        let answers = source.ask(name, std::slice::from_ref(question), now()).await;
        let result = answers.into_iter().next().map(|Answer { result, .. }| result);
        let result = result.unwrap_or_else(|| Err(NoData("no answer".to_owned())));
        result.map_err(|NoData(why)| {
            let beyond = ["can't be reached", "no answer in time", "broke off"];
            if beyond.iter().any(|words| why.contains(words)) {
                Silent::FromHere(why)
            } else {
                Silent::NoData(why)
            }
        })
    }
}

fn read(question: &Question, reply: &Reply) -> Asked {
    let answer = prometheus::reply(reply.status, &reply.body);
    let sample = answer.and_then(|answer| prometheus::parse(question, &answer, now()));
    sample.map_err(|NoData(why)| Silent::NoData(why))
}

/// The Service that an address names: `NAME`, `NAME.NAMESPACE`, or with `svc` and the cluster's domain behind it.
fn behind(address: &str, home: &str) -> Option<Behind> {
    let uri: Uri = address.parse().ok()?;
    let (host, scheme) = (uri.host()?, uri.scheme_str()?);
    if host.parse::<IpAddr>().is_ok() || host.starts_with('[') || host == "localhost" {
        return None;
    }
    let parts: Vec<&str> = host.trim_end_matches('.').split('.').collect();
    let (service, namespace) = match parts.as_slice() {
        [service] => (*service, home),
        [service, namespace] | [service, namespace, "svc", ..] => (*service, *namespace),
        _ => return None,
    };
    Some(Behind {
        namespace: namespace.to_owned(),
        service: service.to_owned(),
        scheme: scheme.to_owned(),
        port: uri.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 }),
        prefix: uri.path().trim_end_matches('/').to_owned(),
    })
}

fn scraped(address: &str, routers: usize, asked: &Asked) -> Finding {
    let known = match asked {
        Ok(Sample { value: Reading::Value(known), .. }) => *known,
        Ok(Sample { value: Reading::Counts { .. }, .. }) => 0.0,
        Err(Silent::FromHere(why)) => {
            return Finding::warning(
                format!("whether Prometheus {address} answers can't be seen from here: {why}"),
                "what the controller hears of it stands in each Rollout: penstock get NAME",
            );
        }
        Err(Silent::NoData(why)) => {
            return Finding::bad(
                format!("Prometheus {address} gives no answer: {why}"),
                "releases hold until it does: put its address right (--prometheus of the controller, or the Rollout's \
                 spec.analysis.source), or leave it out, and the routers themselves are read",
            );
        }
    };
    match routers {
        0 => Finding::good(format!("Prometheus {address} answers; there is no router to scrape yet")),
        _ if known >= routers as f64 => {
            let routers = counted(routers, "router");
            Finding::good(format!("Prometheus {address} answers and scrapes {routers}"))
        }
        _ => Finding::bad(
            format!("Prometheus {address} scrapes {known} of {}", counted(routers, "router")),
            SCRAPE,
        ),
    }
}

/// The questions of a Rollout about a revision.
pub(super) fn questions(metrics: &[Metric], revision: &Revision, stable: &Revision) -> Vec<Question> {
    let asks = |check: &Check| match check {
        Check::ErrorRate { .. } => Asks::Errors,
        Check::Latency { limit, .. } => Asks::SlowerThan(*limit),
        Check::Value { query, .. } => Asks::Value(query.clone()),
    };
    let question = |metric: &Metric| Question {
        metric: metric.name.clone(),
        revision: revision.clone(),
        stable: stable.clone(),
        asks: asks(&metric.check),
    };
    metrics.iter().map(question).collect()
}

/// Answers a question from what routers expose.
pub(super) fn by_routers(
    question: &Question,
    name: &RolloutName,
    exposed: &BTreeMap<String, Result<Exposition, NoData>>,
) -> Asked {
    proxy::parse(question, name, exposed, now()).map_err(|NoData(why)| Silent::NoData(why))
}

/// What a router exposes.
pub(super) fn exposition(router: &str, reply: Result<Reply, Denied>) -> Result<Exposition, NoData> {
    let told = |why: &str| NoData(format!("router {router}: {why}"));
    let reply = reply.map_err(|denied| told(denied.why()))?;
    let text = std::str::from_utf8(&reply.body).map_err(|_| told("exposes what is no text"))?;
    Exposition::parse(text).map_err(|error| told(&error.to_string()))
}

/// Whether the series of a metric exist.
pub(super) fn series(metric: &str, of: &str, asked: &Asked) -> Finding {
    match asked {
        Ok(Sample { value: Reading::Value(value), .. }) => {
            Finding::good(format!("{metric}: the query has a value of {of}, {value}"))
        }
        Ok(Sample { value: Reading::Counts { instances, missing, .. }, .. }) if missing.is_empty() => {
            let total: u64 = instances.values().map(|counts| counts.total).sum();
            let routers = counted(instances.len(), "router");
            Finding::good(format!("{metric}: requests of {of} are counted by {routers}, {total} so far"))
        }
        Ok(Sample { value: Reading::Counts { missing, .. }, .. }) => {
            let why: Vec<_> = missing.iter().map(|(name, why)| format!("{name}: {why}")).collect();
            Finding::bad(
                format!("{metric}: some routers tell nothing of {of}: {}", why.join("; ")),
                "no step is passed before all of them tell; look at these routers, or at what scrapes them",
            )
        }
        Err(Silent::FromHere(why)) => Finding::warning(
            format!("{metric}: can't be asked from here: {why}"),
            "what the controller hears stands in the Rollout: penstock get NAME",
        ),
        Err(Silent::NoData(why)) => Finding::bad(
            format!("{metric}: there is no data of {of}: {why}"),
            "a release holds until there is: see the reason, and docs/runbook.md",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_a_service_of_the_cluster_or_it_does_not() {
        let of = |address: &str| behind(address, "penstock-system").map(|b| (b.service, b.namespace, b.port));
        let some =
            |service: &str, namespace: &str, port| Some((service.to_owned(), namespace.to_owned(), port));
        assert_eq!(of("http://prometheus.monitoring:9090"), some("prometheus", "monitoring", 9090));
        assert_eq!(of("https://p.m.svc.cluster.local/prom/"), some("p", "m", 443));
        assert_eq!(of("http://prometheus"), some("prometheus", "penstock-system", 80));
        for outside in
            ["http://10.0.0.7:9090", "http://[::1]:9090", "https://prom.example.com", "http://localhost:1"]
        {
            assert_eq!(of(outside), None, "{outside}");
        }
        assert_eq!(behind("http://p.m:1/prom/", "x").unwrap().prefix, "/prom");
    }
}
