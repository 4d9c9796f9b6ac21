//! A cluster before and after Penstock is installed there, and Rollouts on it.

use std::collections::BTreeSet;

use anyhow::Result;
use k8s_openapi::api::core::v1::{Pod, Service};
use penstock_crds::{Phase, admit};
use penstock_proxy_api::object;
use penstock_routers::apex;
use serde_json::Value;

use super::api::{Api, Denied, quoted};
use super::controller::{self, HOME, Installed};
use super::numbers::Source;
use super::report::{Finding, Report, Section, counted};
use super::rights::{self, Right, Who};
use super::{definition, me, rollout};
use crate::cli::install::{ACCOUNT, RIGHTS};
use crate::cli::place::{Cluster, NotFound, Saved, Scope, Target};

/// The oldest Kubernetes that is known to do, as major and minor version.
const OLDEST: (u32, u32) = (1, 29);
/// Rollouts that are named one by one.
const MOST: usize = 20;
/// Addresses of Prometheus servers that are asked.
const SOURCES: usize = 5;
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const GATEWAY: &str = "install the Gateway API: kubectl apply --server-side -f \
    https://github.com/kubernetes-sigs/gateway-api/releases/download/v1.5.1/standard-install.yaml";

/// Whether Penstock can be installed.
pub(super) fn before(cluster: &Cluster, prometheus: Option<&str>) -> Result<Report> {
    cluster.wait(async {
        let api = Api::new(cluster.client());
        let (kubernetes, answers) = kubernetes(cluster).await;
        let mut sections = vec![kubernetes];
        if !answers {
            return Ok(Report { sections });
        }
        sections.push(gateway_api(&api).await);
        sections.push(Section::new("Your rights", vec![installer(&api).await]));
        sections.push(in_the_way(&api).await);
        if let Some(address) = prometheus {
            let source = Source { api: &api, address, home: HOME };
            sections.push(Section::new("Prometheus", vec![source.reach(0).await]));
        }
        Ok(Report { sections })
    })
}

/// Whether what is installed does what it should.
pub(super) fn after(cluster: &Cluster, scope: &Scope) -> Result<Report> {
    cluster.wait(async {
        let api = Api::new(cluster.client());
        let (kubernetes, answers) = kubernetes(cluster).await;
        let mut sections = vec![kubernetes];
        if !answers {
            return Ok(Report { sections });
        }
        sections.push(gateway_api(&api).await);
        sections.push(Section::new("Definition", definition(&api).await));
        let installed = controller::installed(&api).await;
        sections.push(controllers(&api, &installed).await);
        let installed = installed.unwrap_or_default();
        let all = cluster.list(cluster.namespace(scope)?).await;
        let known = all.as_ref().map_or(&[][..], Vec::as_slice);
        sections.push(sources(&api, &installed, known, scope).await);
        sections.push(Section::new("Rollouts", standings(&all)));
        Ok(Report { sections })
    })
}

/// Whether some Rollouts are as they should be.
///
/// Errors: [`NotFound`] when there is no such Rollout; the cluster gives no answer.
pub(super) fn rollouts(cluster: &Cluster, targets: &[Target]) -> Result<Report> {
    cluster.wait(async {
        let api = Api::new(cluster.client());
        let installed = controller::installed(&api).await.unwrap_or_default();
        let mut sections = Vec::new();
        for target in targets {
            let saved = cluster.get(target).await?;
            let name = format!("Rollout {}/{}", saved.namespace(), saved.name());
            sections.push(Section::new(name, rollout::check(&api, &saved, &installed).await));
        }
        Ok(Report { sections })
    })
}

/// The API server; whether it answers at all.
async fn kubernetes(cluster: &Cluster) -> (Section, bool) {
    let answer = cluster.version().await;
    let answers = answer.is_ok();
    let findings = match answer {
        Ok(version) => vec![
            Finding::good(format!("the API server answers at {}", cluster.address())),
            new_enough(&version),
        ],
        Err(error) => {
            vec![Finding::bad(format!("{error:#}"), format!("{} check needs a cluster that answers", me()))]
        }
    };
    (Section::new("Kubernetes", findings), answers)
}

fn new_enough(version: &str) -> Finding {
    let (major, minor) = OLDEST;
    let oldest = format!("{major}.{minor}");
    match numbers(version) {
        Some(there) if there >= OLDEST => Finding::good(format!("Kubernetes {version} is {oldest} or newer")),
        Some(_) => Finding::bad(
            format!("Kubernetes {version} is older than {oldest}"),
            "upgrade the cluster: what the definition and the routers need is not in it",
        ),
        None => Finding::warning(
            format!("the version `{version}` can't be understood"),
            format!("Kubernetes {oldest} or newer is needed"),
        ),
    }
}

/// Major and minor version of `v1.34.1+k3s1`.
fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.trim_start_matches('v').split('.');
    let digits = |part: &str| -> Option<u32> {
        let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        part[..end].parse().ok()
    };
    Some((digits(parts.next()?)?, digits(parts.next()?)?))
}

async fn gateway_api(api: &Api) -> Section {
    let served = api.get::<Value>("/apis/gateway.networking.k8s.io/v1").await;
    let path = format!("{DEFINITIONS}/httproutes.gateway.networking.k8s.io");
    let finding = match served {
        Ok(group) if kinds(&group).any(|kind| kind == "HTTPRoute") => {
            route_definition(api.get(&path).await.ok().as_ref())
        }
        Ok(_) | Err(Denied::Absent) => Finding::bad("the cluster has no HTTPRoutes of version v1", GATEWAY),
        Err(denied) => Finding::warning(format!("it can't be asked for: {}", denied.why()), GATEWAY),
    };
    Section::new("Gateway API", vec![finding])
}

fn kinds(group: &Value) -> impl Iterator<Item = &str> {
    group["resources"].as_array().into_iter().flatten().filter_map(|kind| kind["kind"].as_str())
}

/// What the definition of HTTPRoutes can hold, as far as it may be seen.
fn route_definition(definition: Option<&Value>) -> Finding {
    let Some(definition) = definition else { return Finding::good("HTTPRoutes v1 are served") };
    let bundle = &definition["metadata"]["annotations"]["gateway.networking.k8s.io/bundle-version"];
    let bundle = bundle.as_str().unwrap_or("of an unknown version");
    let versions = definition["spec"]["versions"].as_array().into_iter().flatten();
    let mut rules = versions.filter(|version| version["name"] == "v1").filter_map(|version| {
        version.pointer("/schema/openAPIV3Schema/properties/spec/properties/rules/items/properties")
    });
    if rules.any(|rule| rule["timeouts"].is_object()) {
        return Finding::good(format!("HTTPRoutes v1 are served, Gateway API {bundle}"));
    }
    Finding::warning(
        format!("HTTPRoutes of Gateway API {bundle} keep no timeouts: spec.router.timeout has no effect"),
        GATEWAY,
    )
}

async fn definition(api: &Api) -> Vec<Finding> {
    let mut findings = match api.get::<Value>(&format!("{DEFINITIONS}/rollouts.penstock.dev")).await {
        Ok(there) => vec![definition::compare(&there)],
        Err(Denied::Absent) => {
            let remedy = format!("{} install | kubectl apply -f -", me());
            vec![Finding::bad("the cluster knows no Rollouts of penstock.dev", remedy)]
        }
        Err(denied) => vec![Finding::warning(
            format!("the definition of Rollouts can't be read: {}", denied.why()),
            "somebody with the right to get customresourcedefinitions sees whether it is that of this version",
        )],
    };
    findings.extend(namesake(api).await);
    findings
}

/// Two kinds by one name: kubectl takes the first group of the alphabet.
async fn namesake(api: &Api) -> Option<Finding> {
    let group = api.get::<Value>("/apis/argoproj.io/v1alpha1").await.ok()?;
    kinds(&group).any(|kind| kind == "Rollout").then(|| {
        Finding::warning(
            "Argo Rollouts is installed, too: `kubectl get rollouts` shows its Rollouts",
            "for Penstock's write `rollouts.penstock.dev`, as in kubectl get rollouts.penstock.dev",
        )
    })
}

/// Whether we may install.
async fn installer(api: &Api) -> Finding {
    let all = [Right::everywhere("*", "*", "*")];
    if rights::lacking(api, &Who::Me, all.into()).await.is_ok_and(|lacking| lacking.is_empty()) {
        return Finding::good("you may do anything in this cluster");
    }
    let rbac = "rbac.authorization.k8s.io";
    let kinds = [
        ("", "namespaces"),
        ("", "serviceaccounts"),
        ("apps", "deployments"),
        ("policy", "poddisruptionbudgets"),
        ("apiextensions.k8s.io", "customresourcedefinitions"),
        (rbac, "clusterroles"),
        (rbac, "clusterrolebindings"),
        (rbac, "roles"),
        (rbac, "rolebindings"),
    ];
    let mut wanted: BTreeSet<Right> =
        kinds.iter().map(|(group, kind)| Right::everywhere("create", group, kind)).collect();
    let escalate = Right::everywhere("escalate", rbac, "clusterroles");
    // Nobody may give what he does not hold, unless he may do just that.
    if !rights::lacking(api, &Who::Me, [escalate].into()).await.is_ok_and(|lacking| lacking.is_empty()) {
        wanted.extend(rights::given(RIGHTS, None));
        wanted.extend(rights::given(ACCOUNT, Some(HOME)));
    }
    match rights::lacking(api, &Who::Me, wanted).await {
        Ok(lacking) if lacking.is_empty() => Finding::good("you may do all that an installation does"),
        Ok(lacking) => Finding::bad(
            format!("you may not: {}", rights::listed(&lacking)),
            "have somebody install it who is the administrator of the cluster",
        ),
        Err(denied) => Finding::warning(
            format!("your rights can't be asked for: {}", denied.why()),
            "the administrator of the cluster may install it",
        ),
    }
}

/// What an installation, or the first Rollout, would meet.
async fn in_the_way(api: &Api) -> Section {
    let mut findings = Vec::new();
    for there in controller::installed(api).await.unwrap_or_default() {
        let where_ =
            there.watches.as_deref().map_or("all namespaces".to_owned(), |n| format!("namespace {n}"));
        let Installed { namespace, name, .. } = &there;
        findings.push(Finding::warning(
            format!("{namespace}/{name} looks after {where_} already"),
            format!("install into {namespace} to upgrade it; two for the same Rollouts make no sense"),
        ));
    }
    findings.extend(namesake(api).await);
    findings.extend(orphans(api).await);
    if findings.is_empty() {
        findings.push(Finding::good("nothing is in the way"));
    }
    Section::new("In the way", findings)
}

/// Services of an earlier installation whose Rollout is gone: they lead to routers.
async fn orphans(api: &Api) -> Vec<Finding> {
    let path = format!("/api/v1/services?labelSelector={}", quoted(object::ROLLOUT));
    let services = match api.list::<Service>(&path).await {
        Ok(services) => services,
        Err(denied) => {
            let told = format!("Services of other namespaces can't be seen: {}", denied.why());
            return vec![Finding::warning(
                told,
                "one that is left of an earlier installation would not be found",
            )];
        }
    };
    let rollouts: BTreeSet<(String, String)> =
        match api.list::<Value>("/apis/penstock.dev/v1alpha1/rollouts").await {
            Ok(all) => all.iter().filter_map(|rollout| key(&rollout["metadata"])).collect(),
            Err(Denied::Absent) => BTreeSet::new(),
            Err(_) => return Vec::new(),
        };
    let left = services.iter().filter_map(|service| {
        let rollout = apex::taken_for(service)?;
        let (namespace, name) = (service.metadata.namespace.clone()?, service.metadata.name.clone()?);
        let lives = rollouts.contains(&(namespace.clone(), rollout));
        (!lives).then(|| {
            Finding::warning(
                format!("the Service {namespace}/{name} was taken over for a Rollout that is gone"),
                "a controller gives it back as soon as one runs; if it is not to, see its annotation \
                 penstock.dev/adopted-from",
            )
        })
    });
    left.take(MOST).collect()
}

fn key(metadata: &Value) -> Option<(String, String)> {
    Some((metadata["namespace"].as_str()?.to_owned(), metadata["name"].as_str()?.to_owned()))
}

async fn controllers(api: &Api, installed: &Result<Vec<Installed>, Denied>) -> Section {
    let install = || format!("{} install | kubectl apply -f -, or the chart", me());
    let mut findings = Vec::new();
    match installed {
        Ok(all) if all.is_empty() => findings.push(Finding::bad("no controller is installed", install())),
        Ok(all) => {
            for one in all {
                findings.extend(controller::check(api, one).await);
            }
            findings.extend(overlap(all));
        }
        Err(denied) => findings.push(Finding::warning(
            format!("controllers can't be seen: {}", denied.why()),
            format!("ask for the right to list deployments in {HOME}"),
        )),
    }
    Section::new("Controller", findings)
}

/// Two installations for the same Rollouts.
fn overlap(all: &[Installed]) -> Option<Finding> {
    let mut seen: BTreeSet<Option<&str>> = BTreeSet::new();
    let meets = |seen: &BTreeSet<Option<&str>>, watches: Option<&str>| {
        !seen.is_empty() && (watches.is_none() || seen.contains(&None) || seen.contains(&watches))
    };
    for one in all {
        let watches = one.watches.as_deref();
        if meets(&seen, watches) {
            let names: Vec<_> = all.iter().map(|one| format!("{}/{}", one.namespace, one.name)).collect();
            return Some(Finding::bad(
                format!("several controllers look after the same Rollouts: {}", names.join(", ")),
                "take one away, or give each a namespace of its own (--watch-namespace)",
            ));
        }
        seen.insert(watches);
    }
    None
}

/// Each Prometheus that judges, once.
async fn sources(api: &Api, installed: &[Installed], rollouts: &[Saved], scope: &Scope) -> Section {
    let home = installed.first().map_or(HOME, |one| one.namespace.as_str());
    let mut addresses: BTreeSet<String> = installed.iter().filter_map(|one| one.prometheus.clone()).collect();
    let guarded: BTreeSet<String> = rollouts.iter().filter_map(own_source).collect();
    addresses.extend(guarded);
    let mut findings = Vec::new();
    let routers = match ready_routers(api, scope).await {
        Ok(routers) => routers,
        Err(denied) => {
            let told = format!("routers can't be seen: {}", denied.why());
            findings.push(Finding::warning(told, "ask for the right to list pods"));
            0
        }
    };
    for address in addresses.iter().take(SOURCES) {
        findings.push(Source { api, address, home }.reach(routers).await);
    }
    if addresses.is_empty() {
        let routers = counted(routers, "router");
        findings.push(Finding::good(format!("none is configured: the controller reads {routers} directly")));
    }
    Section::new("Metrics", findings)
}

/// The Prometheus that a Rollout names, if it is open to everybody: others can only be asked by the controller.
fn own_source(saved: &Saved) -> Option<String> {
    match admit(&saved.rollout).ok()?.facts.source {
        penstock_crds::Source::Prometheus(prometheus) => {
            (prometheus.auth.is_none() && prometheus.ca.is_none()).then_some(prometheus.address)
        }
        penstock_crds::Source::Default | penstock_crds::Source::Proxy => None,
    }
}

async fn ready_routers(api: &Api, scope: &Scope) -> Result<usize, Denied> {
    let namespace = scope.namespace.as_deref().filter(|_| !scope.everywhere);
    Ok(routers(api, namespace).await?.iter().filter(|pod| rollout::is_ready(pod)).count())
}

/// The pods of the routers of a namespace, or of all.
pub(super) async fn routers(api: &Api, namespace: Option<&str>) -> Result<Vec<Pod>, Denied> {
    let inside = namespace.map(|namespace| format!("/namespaces/{namespace}")).unwrap_or_default();
    let label = quoted(&format!("{}={}", object::COMPONENT, object::ROUTER));
    api.list(&format!("/api/v1{inside}/pods?labelSelector={label}")).await
}

/// What needs somebody.
fn standings(all: &Result<Vec<Saved>>) -> Vec<Finding> {
    let all = match all {
        Ok(all) => all,
        Err(error) if error.is::<NotFound>() => return Vec::new(),
        Err(error) => {
            return vec![Finding::warning(format!("{error:#}"), "name a namespace with -n")];
        }
    };
    let mut findings: Vec<_> = all.iter().filter_map(standing).collect();
    let more = findings.len().saturating_sub(MOST);
    findings.truncate(MOST);
    if more > 0 {
        findings.push(Finding::warning(format!("and {more} more"), format!("{} get -A", me())));
    }
    let well = all.len() - findings.len().min(all.len());
    if findings.is_empty() {
        findings.push(Finding::good(format!("{}, none needs a person", counted(well, "Rollout"))));
    }
    findings
}

fn standing(saved: &Saved) -> Option<Finding> {
    let status = saved.rollout.status.clone().unwrap_or_default();
    let (namespace, name) = (saved.namespace(), saved.name());
    let message = status.message.map(|message| format!(": {message}")).unwrap_or_default();
    let told = format!("{namespace}/{name} is {}{message}", status.phase.as_str());
    let look = format!("{} why {name} -n {namespace}", me());
    match status.phase {
        Phase::Stalled | Phase::Invalid => Some(Finding::bad(told, look)),
        Phase::Aborted | Phase::Held => Some(Finding::warning(told, look)),
        Phase::Pending
        | Phase::Deploying
        | Phase::Stable
        | Phase::Progressing
        | Phase::Paused
        | Phase::Unknown => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::check::report::Mark;

    #[test]
    fn an_old_kubernetes_is_named_with_what_is_needed() {
        let versions = ["v1.28.15", "v1.29.0", "v1.34.1+k3s1", "v2.0.0", "1.30+", "weird"];
        let marks = versions.map(|version| new_enough(version).mark);
        use Mark::{Bad, Good, Warning};
        assert_eq!(marks, [Bad, Good, Good, Good, Good, Warning]);
        assert!(new_enough("v1.28.15").text.contains("1.29"));
    }

    #[test]
    fn definitions_of_routes_without_timeouts_are_a_warning() {
        let of = |rule: Value| {
            let schema = json!({"openAPIV3Schema": {"properties": {"spec": {"properties": {"rules": {"items": {"properties": rule}}}}}}});
            let annotations = json!({"gateway.networking.k8s.io/bundle-version": "v1.1.0"});
            json!({"metadata": {"annotations": annotations}, "spec": {"versions": [{"name": "v1", "schema": schema}]}})
        };
        assert_eq!(route_definition(Some(&of(json!({"timeouts": {}})))).mark, Mark::Good);
        let told = route_definition(Some(&of(json!({"matches": {}}))));
        assert!(told.mark == Mark::Warning && told.text.contains("v1.1.0"), "{told:?}");
        assert_eq!(route_definition(None).mark, Mark::Good);
    }
}
