//! One Rollout on a cluster: what is in its way, and what stands around it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use penstock_core::revision::Revision;
use penstock_crds::{Admitted, Facts, Phase, RolloutStatus, admit};
use penstock_proxy_api::{Status, object};
use penstock_routers::apex::{self, Apex, Standing};
use penstock_routers::router;
use penstock_signals::RolloutName;
use serde_json::Value;
use tokio::time::sleep;

use super::api::{Api, Denied, quoted};
use super::cluster::routers;
use super::controller::{HOME, Installed};
use super::me;
use super::numbers::{self, Source};
use super::report::{Finding, counted};
use crate::cli::place::Saved;

/// Routers that are asked at the same time.
const CONCURRENT: usize = 8;
/// Most routers that are asked.
const MOST: usize = 100;
/// A split that was written this moment is looked at again.
const LOOKS: u32 = 4;
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Everything about one Rollout.
pub(super) async fn check(api: &Api, saved: &Saved, installed: &[Installed]) -> Vec<Finding> {
    let status = saved.rollout.status.clone().unwrap_or_default();
    let mut findings = vec![spec(saved)];
    findings.push(taken(saved, &status));
    let Ok(admitted) = admit(&saved.rollout) else { return findings };
    let facts = &admitted.facts;
    findings.push(standing(saved, &status));
    let (told, generation, listen) = route(api, saved, &status).await;
    findings.push(told);
    let (told, asked) = acknowledged(api, saved, generation).await;
    findings.extend(told);
    findings.extend(service(api, saved, facts, listen).await);
    findings.extend(pods(api, facts).await);
    findings.extend(ready(&status, &asked, saved));
    findings.extend(series(api, saved, &admitted, &status, installed, &asked).await);
    findings
}

fn spec(saved: &Saved) -> Finding {
    match admit(&saved.rollout) {
        Ok(admitted) => Finding::good(format!("its spec is well: revision {}", admitted.strategy.revision)),
        Err(refusals) => {
            let text: Vec<_> = refusals.iter().map(ToString::to_string).collect();
            Finding::bad(text.join("; "), "change these fields and apply it again; what ran before goes on")
        }
    }
}

/// Whether a controller works on the present spec.
fn taken(saved: &Saved, status: &RolloutStatus) -> Finding {
    let look = || format!("is a controller there that looks after this namespace? {} check", me());
    match (saved.rollout.metadata.generation, status.observed_generation) {
        (_, None) => Finding::bad("no controller has looked at it yet", look()),
        (Some(written), Some(seen)) if seen < written => {
            Finding::bad(format!("the controller works on generation {seen}, {written} is written"), look())
        }
        _ => Finding::good("the controller works on the present spec"),
    }
}

fn standing(saved: &Saved, status: &RolloutStatus) -> Finding {
    let message = status.message.as_deref().map(|message| format!(": {message}")).unwrap_or_default();
    let told = format!("{}{message}", status.phase.as_str());
    let why = format!("{} why {} -n {}", me(), saved.name(), saved.namespace());
    match status.phase {
        Phase::Stalled | Phase::Invalid | Phase::Pending => Finding::bad(told, why),
        Phase::Aborted | Phase::Held | Phase::Unknown => Finding::warning(told, why),
        Phase::Deploying | Phase::Stable | Phase::Progressing | Phase::Paused => Finding::good(told),
    }
}

/// The HTTPRoute: how it is, its generation, and the port on which routers listen.
async fn route(api: &Api, saved: &Saved, status: &RolloutStatus) -> (Finding, Option<u64>, Option<u16>) {
    let (namespace, name) = (saved.namespace(), saved.name());
    let path = format!("/apis/gateway.networking.k8s.io/v1/namespaces/{namespace}/httproutes/{name}");
    let route = match api.get::<Value>(&path).await {
        Ok(route) => route,
        Err(Denied::Absent) => {
            let remedy = "the controller makes it as soon as pods are ready; if the cluster has no HTTPRoutes at all, \
                          install the Gateway API";
            return (Finding::bad(format!("there is no HTTPRoute {name}"), remedy), None, None);
        }
        Err(denied) => {
            let told = format!("its HTTPRoute can't be read: {}", denied.why());
            let generation = status.split.as_ref().and_then(|split| u64::try_from(split.generation).ok());
            let remedy = "ask for the right to get httproutes of this namespace";
            return (Finding::warning(told, remedy), generation, None);
        }
    };
    let note = |name: &str| route["metadata"]["annotations"][name].as_str();
    let generation = note(object::GENERATION).and_then(|text| text.parse().ok());
    let listen = note(object::LISTEN).and_then(|text| text.parse().ok());
    (divided(&route, status, generation), generation, listen)
}

fn divided(route: &Value, status: &RolloutStatus, generation: Option<u64>) -> Finding {
    let saved = status.split.as_ref().and_then(|split| u64::try_from(split.generation).ok());
    match (generation, saved) {
        (None, _) => Finding::bad(
            "its HTTPRoute carries no split",
            "another controller may write it: take that one's hands off HTTPRoutes with the label penstock.dev/rollout",
        ),
        (Some(there), Some(saved)) if there < saved => Finding::bad(
            format!("its HTTPRoute has split {there}, {saved} is decided"),
            "the controller may not write it, or does not run: see its log",
        ),
        (Some(there), _) => {
            let backends = penstock_routers::gateway::read(route).is_ok();
            if backends {
                Finding::good(format!("its HTTPRoute has split {there}"))
            } else {
                Finding::bad("its HTTPRoute can't be read", "delete it: the controller makes it again")
            }
        }
    }
}

/// What each router says.
type Asked = BTreeMap<String, Result<Status, String>>;

/// Whether each router applies the split.
async fn acknowledged(api: &Api, saved: &Saved, generation: Option<u64>) -> (Vec<Finding>, Asked) {
    let mut looks = 0;
    loop {
        looks += 1;
        let pods = match routers(api, Some(saved.namespace())).await {
            Ok(pods) => pods,
            Err(denied) => {
                let told = format!("its routers can't be seen: {}", denied.why());
                let remedy = "ask for the right to list pods of this namespace";
                return (vec![Finding::warning(told, remedy)], Asked::new());
            }
        };
        let asked = ask(api, &pods).await;
        let findings = judge(saved, generation, &pods, &asked);
        let well = findings.iter().all(|finding| finding.remedy.is_none());
        if well || looks >= LOOKS {
            return (findings, asked);
        }
        sleep(LOOK_AGAIN).await;
    }
}

async fn ask(api: &Api, pods: &[Pod]) -> Asked {
    let names = pods
        .iter()
        .filter(|pod| is_ready(pod))
        .take(MOST)
        .filter_map(|pod| Some((pod.metadata.namespace.clone()?, pod.metadata.name.clone()?)));
    let asked = names.map(|(namespace, name)| async move {
        let reply = api.pod(&namespace, &name, router::ADMIN.into(), "status").await;
        let status = reply.map_err(|denied| denied.why().to_owned()).and_then(|reply| {
            serde_json::from_slice(&reply.body).map_err(|error| format!("it sends no report: {error}"))
        });
        (name, status)
    });
    stream::iter(asked).buffer_unordered(CONCURRENT).collect().await
}

fn judge(saved: &Saved, generation: Option<u64>, pods: &[Pod], asked: &Asked) -> Vec<Finding> {
    let namespace = saved.namespace();
    let look = format!("kubectl -n {namespace} describe deployment {}", router::NAME);
    let (ready, all) = (pods.iter().filter(|pod| is_ready(pod)).count(), pods.len());
    let mut findings = vec![match (ready, all) {
        (0, _) => Finding::bad("no router of its namespace is ready: nobody serves it", look),
        (1, _) => Finding::warning("1 router is ready: when it goes, requests fail", look),
        (ready, all) if ready < all => Finding::warning(format!("{ready} of {all} routers are ready"), look),
        (ready, _) => Finding::good(format!("{ready} routers are ready")),
    }];
    let mut well = 0;
    for (router, status) in asked {
        match applied(saved, generation, status) {
            Ok(()) => well += 1,
            Err((told, remedy)) => findings.push(Finding::bad(format!("router {router}: {told}"), remedy)),
        }
        for problem in status.iter().flat_map(|status| &status.problems).take(3) {
            findings.push(Finding::warning(
                format!("router {router} can't use an object: {problem}"),
                "put that object right, or delete it",
            ));
        }
    }
    if well > 0 {
        let split = generation.map(|generation| format!(" {generation}")).unwrap_or_default();
        findings.push(Finding::good(format!("split{split} is applied by {}", counted(well, "router"))));
    }
    findings
}

fn applied(
    saved: &Saved,
    generation: Option<u64>,
    status: &Result<Status, String>,
) -> Result<(), (String, &'static str)> {
    let status = status.as_ref().map_err(|why| {
        let may = "the right to get pods/proxy is needed to ask it from here; whether all routers apply the split \
                   stands in the Rollout, too: penstock get NAME";
        (format!("it can't be asked: {why}"), may)
    })?;
    let ours = |rollout: &&penstock_proxy_api::RolloutStatus| {
        rollout.namespace == saved.namespace() && rollout.name == saved.name()
    };
    let Some(rollout) = status.rollouts.iter().find(ours) else {
        let why = "it may not watch HTTPRoutes, or is cut off from the API server: see its log";
        return Err(("it does not know this Rollout".to_owned(), why));
    };
    if rollout.listen.is_none() {
        return Err(("it could not open its port".to_owned(), "see its log; two Rollouts may have one port"));
    }
    match generation {
        Some(wanted) if rollout.generation < wanted => Err((
            format!("it applies split {}, {wanted} is written", rollout.generation),
            "it is cut off from the API server, or too busy: see its log; deleting the pod starts another one",
        )),
        _ => Ok(()),
    }
}

pub(super) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions.into_iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True");
    ready && pod.metadata.deletion_timestamp.is_none()
}

/// Whose the Service is that clients call, and which others lead past the routers.
async fn service(api: &Api, saved: &Saved, facts: &Facts, listen: Option<u16>) -> Vec<Finding> {
    let (namespace, name) = (saved.namespace(), &facts.service.name);
    let all = match api.list::<Service>(&format!("/api/v1/namespaces/{namespace}/services")).await {
        Ok(all) => all,
        Err(denied) => {
            let told = format!("its Service can't be seen: {}", denied.why());
            return vec![Finding::warning(told, "ask for the right to list services of this namespace")];
        }
    };
    let apex = Apex {
        namespace: namespace.to_owned(),
        rollout: saved.name().to_owned(),
        name: name.clone(),
        port: facts.service.port,
        target_port: listen.unwrap_or(facts.service.target_port),
    };
    let uid = saved.rollout.metadata.uid.as_deref().unwrap_or_default();
    let there = all.iter().find(|service| service.metadata.name.as_ref() == Some(name));
    let mut findings = vec![owned(name, there.map(|there| (apex::state(there, &apex, uid), there)), &apex)];
    let labels =
        facts.template.metadata.as_ref().and_then(|metadata| metadata.labels.clone()).unwrap_or_default();
    findings.extend(all.iter().filter(|service| leads_past(service, name, &labels)).map(|service| {
        let other = service.metadata.name.as_deref().unwrap_or_default();
        Finding::warning(
            format!("the Service {other} selects its pods: requests to it pass by the routers, uncounted and undivided"),
            format!("have its clients call {name}, or keep it for what is not to be released by steps"),
        )
    }));
    findings
}

fn owned(name: &str, there: Option<(Standing, &Service)>, apex: &Apex) -> Finding {
    let Some((standing, service)) = there else {
        return Finding::bad(
            format!("there is no Service {name}"),
            "the controller makes it as soon as routers serve the Rollout: see what stands above",
        );
    };
    match standing {
        Standing::Foreign(conflict) => Finding::bad(conflict.why, conflict.remedy),
        Standing::Adoptable => Finding::warning(
            format!("the Service {name} is handed over, and not switched to the routers yet"),
            "it is, as soon as all pods are ready and every router serves the Rollout",
        ),
        Standing::Ours | Standing::Adopted => match apex::warning(service, apex) {
            Some(conflict) if matches!(standing, Standing::Adopted) => {
                Finding::warning(conflict.why, conflict.remedy)
            }
            _ => Finding::good(format!("the Service {name} leads to the routers")),
        },
    }
}

/// A Service of somebody else whose selector takes the pods.
fn leads_past(service: &Service, apex: &str, labels: &BTreeMap<String, String>) -> bool {
    let revision = service.metadata.labels.iter().flatten().any(|(name, _)| name == object::REVISION);
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    let takes = selector.is_some_and(|selector| {
        !selector.is_empty() && selector.iter().all(|(name, value)| labels.get(name) == Some(value))
    });
    service.metadata.name.as_deref() != Some(apex) && !revision && takes
}

/// Whether the selector takes other pods than its own.
async fn pods(api: &Api, facts: &Facts) -> Vec<Finding> {
    let path = format!(
        "/api/v1/namespaces/{}/pods?labelSelector={}",
        facts.namespace,
        quoted(&text(&facts.selector))
    );
    match api.list::<Pod>(&path).await {
        Ok(pods) => vec![selected(&pods, &facts.name)],
        Err(denied) => {
            let told = format!("what its selector takes can't be seen: {}", denied.why());
            vec![Finding::warning(told, "ask for the right to list pods of this namespace")]
        }
    }
}

fn selected(pods: &[Pod], rollout: &str) -> Finding {
    let own = |pod: &&Pod| {
        pod.metadata.labels.iter().flatten().any(|(name, value)| name == object::ROLLOUT && value == rollout)
    };
    let others: BTreeSet<String> = pods.iter().filter(|pod| !own(pod)).map(owner).collect();
    let others: Vec<_> = others.into_iter().collect();
    if others.is_empty() {
        return Finding::good(format!("its selector takes its own pods, {} now", pods.len()));
    }
    Finding::warning(
        format!("its selector takes pods of others: {}", others.join(", ")),
        "an autoscaler counts them in, and routers send them nothing: scale what you have replaced to 0, or give each \
         labels of its own",
    )
}

fn owner(pod: &Pod) -> String {
    let owner = pod.metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
    match owner {
        Some(owner) => format!("{} {}", owner.kind, owner.name),
        None => format!("pod {}", pod.metadata.name.as_deref().unwrap_or_default()),
    }
}

/// A selector as a query has it.
fn text(selector: &LabelSelector) -> String {
    let equal = selector.match_labels.iter().flatten().map(|(name, value)| format!("{name}={value}"));
    let others = selector.match_expressions.iter().flatten().map(|expression| {
        let values = expression.values.iter().flatten().cloned().collect::<Vec<_>>().join(",");
        let key = &expression.key;
        match expression.operator.as_str() {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "DoesNotExist" => format!("!{key}"),
            _ => key.clone(),
        }
    });
    equal.chain(others).collect::<Vec<_>>().join(",")
}

/// Pods that are wanted, and those that routers know of.
pub(super) fn ready(status: &RolloutStatus, asked: &Asked, saved: &Saved) -> Vec<Finding> {
    let known = |revision: &str| -> Option<u32> {
        let of = |status: &Status| {
            let rollout = status
                .rollouts
                .iter()
                .find(|r| r.namespace == saved.namespace() && r.name == saved.name())?;
            rollout.endpoints.get(revision).copied()
        };
        asked.values().filter_map(|status| status.as_ref().ok()).map(|s| of(s).unwrap_or(0)).min()
    };
    let wanted = status.revisions.iter().filter(|revision| revision.scale > 0);
    let judge = |revision: &penstock_crds::RevisionStatus| {
        let penstock_crds::RevisionStatus { name, scale, ready, weight, trouble, .. } = revision;
        let trouble = trouble.as_deref().map(|trouble| format!(": {trouble}")).unwrap_or_default();
        if ready < scale {
            let told = format!("revision {name}: {ready} of {scale} pods are ready{trouble}");
            let look =
                format!("kubectl -n {} describe pods -l penstock.dev/revision={name}", saved.namespace());
            return if *ready == 0 { Finding::bad(told, look) } else { Finding::warning(told, look) };
        }
        match known(name) {
            Some(0) if *weight > 0 => Finding::bad(
                format!("revision {name} has {weight} % and a router knows no endpoint of it"),
                "that router is cut off from the API server, or may not read EndpointSlices: see its log",
            ),
            Some(known) => Finding::good(format!(
                "revision {name}: {ready} of {scale} pods are ready, routers know {known}"
            )),
            None => Finding::good(format!("revision {name}: {ready} of {scale} pods are ready")),
        }
    };
    wanted.map(judge).collect()
}

/// Whether the numbers exist that it is judged by.
async fn series(
    api: &Api,
    saved: &Saved,
    admitted: &Admitted,
    status: &RolloutStatus,
    installed: &[Installed],
    asked: &Asked,
) -> Vec<Finding> {
    let metrics = &admitted.strategy.analysis.metrics;
    if metrics.is_empty() {
        return vec![Finding::warning(
            "it is judged by nothing: steps pass by time alone",
            "leave spec.analysis.metrics out, and at most 1 % of errors is allowed",
        )];
    }
    let name = RolloutName { namespace: saved.namespace().to_owned(), name: saved.name().to_owned() };
    let stable = status.stable_revision.clone().and_then(|name| Revision::new(name).ok());
    let Some(stable) = stable else {
        return vec![Finding::warning(
            "no revision serves yet: there is nothing to count",
            "wait for the first deploy",
        )];
    };
    let canary = status.canary_revision.clone().and_then(|name| Revision::new(name).ok());
    let revision = canary.filter(|_| status.split.as_ref().is_some_and(|split| split.weight > 0));
    let revision = revision.unwrap_or_else(|| stable.clone());
    let home = installed.first().map_or(HOME, |one| one.namespace.as_str());
    let address = match &admitted.facts.source {
        penstock_crds::Source::Proxy => None,
        penstock_crds::Source::Default => installed.iter().find_map(|one| one.prometheus.clone()),
        penstock_crds::Source::Prometheus(prometheus)
            if prometheus.auth.is_some() || prometheus.ca.is_some() =>
        {
            return by_status(status, &prometheus.address);
        }
        penstock_crds::Source::Prometheus(prometheus) => Some(prometheus.address.clone()),
    };
    let questions = numbers::questions(metrics, &revision, &stable);
    let mut findings = Vec::new();
    let exposed =
        if address.is_none() { expose(api, saved.namespace(), asked).await } else { BTreeMap::new() };
    for question in &questions {
        let answer = match &address {
            Some(address) => Source { api, address, home }.ask(&name, question).await,
            None => numbers::by_routers(question, &name, &exposed),
        };
        findings.push(numbers::series(&question.metric, revision.as_str(), &answer));
    }
    findings
}

async fn expose(
    api: &Api,
    namespace: &str,
    asked: &Asked,
) -> BTreeMap<String, Result<penstock_signals::proxy::Exposition, penstock_core::sample::NoData>> {
    let mut exposed = BTreeMap::new();
    for router in asked.keys() {
        let reply = api.pod(namespace, router, router::ADMIN.into(), "metrics").await;
        exposed.insert(router.clone(), numbers::exposition(router, reply));
    }
    exposed
}

/// A source that wants credentials is asked by the controller alone: what it heard last.
fn by_status(status: &RolloutStatus, address: &str) -> Vec<Finding> {
    if status.measurements.is_empty() {
        return vec![Finding::warning(
            format!("Prometheus {address} wants credentials, which the controller alone uses"),
            "what it hears stands in the Rollout during a release: penstock get NAME",
        )];
    }
    let told = |m: &penstock_crds::Measurement| match (&m.verdict, &m.message) {
        (penstock_crds::Verdict::NoData, Some(message)) => {
            Finding::warning(format!("{}: {message}", m.metric), "a release holds until there is data")
        }
        _ => Finding::good(format!("{}: the controller has measured it", m.metric)),
    };
    status.measurements.iter().map(told).collect()
}
