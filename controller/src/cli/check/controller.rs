//! The controllers of a cluster: whether they run, what they may do, and which of them leads.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Container, Pod};
use tokio::time::{Instant, sleep};

use super::api::{Api, Denied, quoted};
use super::report::Finding;
use super::rights::{self, Right, Who};
use crate::cli::install::{ACCOUNT, RIGHTS};

/// The label of the controllers.
const LABEL: &str = "app.kubernetes.io/name=penstock-controller";
/// Where they are unless somebody wanted them elsewhere.
pub(super) const HOME: &str = "penstock-system";
/// A lease is renewed each second, and lost after 4.
const RENEWED: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(250);
/// What puts most things right.
const APPLY: &str = "apply what `penstock install` prints, or upgrade the chart";

/// The controllers of one installation.
#[derive(Clone, Debug)]
pub(super) struct Installed {
    pub(super) namespace: String,
    pub(super) name: String,
    account: String,
    /// The only namespace that it looks after.
    pub(super) watches: Option<String>,
    /// What judges Rollouts that name no source.
    pub(super) prometheus: Option<String>,
    image: String,
    port: i32,
    wanted: i32,
    ready: i32,
}

/// All installations of a cluster; where that can't be seen, that in its usual namespace.
pub(super) async fn installed(api: &Api) -> Result<Vec<Installed>, Denied> {
    let label = quoted(LABEL);
    let all = match api.list::<Deployment>(&format!("/apis/apps/v1/deployments?labelSelector={label}")).await
    {
        Err(Denied::Forbidden(_)) => {
            let path = format!("/apis/apps/v1/namespaces/{HOME}/deployments?labelSelector={label}");
            api.list::<Deployment>(&path).await
        }
        answer => answer,
    };
    Ok(all?.iter().filter_map(read).collect())
}

fn read(deployment: &Deployment) -> Option<Installed> {
    let spec = deployment.spec.as_ref()?;
    let pod = spec.template.spec.as_ref()?;
    let container =
        pod.containers.iter().find(|c| c.name == "penstock-controller").or(pod.containers.first())?;
    let port = container.ports.iter().flatten().find(|port| port.name.as_deref() == Some("metrics"));
    Some(Installed {
        namespace: deployment.metadata.namespace.clone()?,
        name: deployment.metadata.name.clone()?,
        account: pod.service_account_name.clone().unwrap_or_else(|| "default".to_owned()),
        watches: option(container, "--watch-namespace", "PENSTOCK_WATCH_NAMESPACE"),
        prometheus: option(container, "--prometheus", "PENSTOCK_PROMETHEUS"),
        image: container.image.clone().unwrap_or_default(),
        port: port.map_or(9902, |port| port.container_port),
        wanted: spec.replicas.unwrap_or(1),
        ready: deployment.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0),
    })
}

/// What an option says, as an argument (`--a=b` or `--a b`) or as a variable.
fn option(container: &Container, flag: &str, variable: &str) -> Option<String> {
    let words: Vec<&String> = container.command.iter().chain(&container.args).flatten().collect();
    let joined = words.iter().find_map(|word| word.strip_prefix(flag)?.strip_prefix('='));
    let behind = || words.iter().position(|word| *word == flag).and_then(|at| words.get(at + 1));
    let set = || container.env.iter().flatten().find(|env| env.name == variable)?.value.clone();
    let found = joined.map(str::to_owned).or_else(|| behind().map(|word| (*word).clone())).or_else(set);
    found.filter(|value| !value.is_empty())
}

/// Everything about one installation.
pub(super) async fn check(api: &Api, installed: &Installed) -> Vec<Finding> {
    let mut findings = pods(api, installed).await;
    findings.push(allowed(api, installed).await);
    findings.push(lease(api, installed).await);
    findings
}

async fn pods(api: &Api, installed: &Installed) -> Vec<Finding> {
    let Installed { namespace, name, wanted, ready, .. } = installed;
    let path = format!("/api/v1/namespaces/{namespace}/pods?labelSelector={}", quoted(LABEL));
    let pods = match api.list::<Pod>(&path).await {
        Ok(pods) => pods,
        Err(denied) => {
            let told = format!("pods of {namespace}/{name} can't be seen: {}", denied.why());
            let unseen = Finding::warning(told, "ask for the right to list pods there");
            return vec![standing(installed, Vec::new()), unseen];
        }
    };
    let names = |is_ready: bool| {
        let of = move |pod: &&Pod| ready_now(pod) == is_ready && pod.metadata.deletion_timestamp.is_none();
        pods.iter().filter(of).filter_map(|pod| pod.metadata.name.clone())
    };
    let mut troubles = Vec::new();
    if ready < wanted || *wanted == 0 {
        for pod in names(false) {
            troubles.push(format!("{pod}: {}", unready(api, installed, &pod).await));
        }
    }
    let mut findings = vec![standing(installed, troubles)];
    let asked = names(true).next();
    findings.push(match asked {
        Some(pod) => version(api, installed, &pod).await,
        None => told_version(&tag(&installed.image).unwrap_or_default()),
    });
    findings
}

fn standing(installed: &Installed, troubles: Vec<String>) -> Finding {
    let Installed { namespace, name, wanted, ready, .. } = installed;
    let told = format!("{namespace}/{name}: {ready} of {wanted} pods are ready");
    let look = format!("see: kubectl -n {namespace} describe pods -l {LABEL}");
    let remedy = if troubles.is_empty() { look } else { format!("{}; {look}", troubles.join("; ")) };
    match (*ready, *wanted) {
        (0, 0) => Finding::bad(
            format!("{namespace}/{name} is scaled to 0: nobody moves releases"),
            format!("kubectl -n {namespace} scale deployment {name} --replicas=2"),
        ),
        (0, _) => Finding::bad(told, remedy),
        (ready, wanted) if ready < wanted => Finding::warning(told, remedy),
        _ => Finding::good(told),
    }
}

fn ready_now(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True")
}

/// What a controller that is not ready says of itself, or the node of it.
async fn unready(api: &Api, installed: &Installed, pod: &str) -> String {
    match api.pod(&installed.namespace, pod, installed.port, "readyz").await {
        Ok(reply) => reply.words(),
        Err(denied) => format!("it can't be asked: {}", denied.why()),
    }
}

async fn version(api: &Api, installed: &Installed, pod: &str) -> Finding {
    let told = api.pod(&installed.namespace, pod, installed.port, "version").await;
    let told = told.ok().filter(|reply| reply.status == 200).map(|reply| reply.words());
    told_version(&told.or_else(|| tag(&installed.image)).unwrap_or_default())
}

fn told_version(theirs: &str) -> Finding {
    let ours = env!("CARGO_PKG_VERSION");
    if theirs == ours {
        return Finding::good(format!("its version is that of this command, {ours}"));
    }
    let of =
        |version: &str| -> Option<Vec<u64>> { version.split('.').map(|part| part.parse().ok()).collect() };
    match (of(theirs), of(ours)) {
        (Some(there), Some(here)) if there < here => Finding::warning(
            format!("the controller is {theirs}, this command {ours}"),
            format!("upgrade the controller: {APPLY}"),
        ),
        (Some(_), _) => Finding::warning(
            format!("the controller is {theirs}, this command {ours}"),
            "take the command of the controller's version",
        ),
        (None, _) => Finding::warning(
            format!("the version of the controller can't be told; this command is {ours}"),
            "take both from the same release",
        ),
    }
}

/// The tag of an image that looks like a version.
fn tag(image: &str) -> Option<String> {
    let (_, tag) = image.split('@').next()?.rsplit('/').next()?.split_once(':')?;
    tag.starts_with(|c: char| c.is_ascii_digit()).then(|| tag.to_owned())
}

async fn allowed(api: &Api, installed: &Installed) -> Finding {
    let who = Who::Account { namespace: installed.namespace.clone(), name: installed.account.clone() };
    let mut wanted: BTreeSet<Right> = rights::given(RIGHTS, installed.watches.as_deref());
    wanted.extend(rights::given(ACCOUNT, Some(&installed.namespace)));
    let all = wanted.len();
    match rights::lacking(api, &who, wanted).await {
        Ok(lacking) if lacking.is_empty() => Finding::good(format!("it may do what it has to: {all} rights")),
        Ok(lacking) => Finding::bad(
            format!("it may not do what it has to: {}", rights::listed(&lacking)),
            format!("{APPLY}: each right stands there with its reason"),
        ),
        Err(denied) => Finding::warning(
            format!("whether it may do what it has to can't be asked: {}", denied.why()),
            "somebody with the right to create subjectaccessreviews can; the controller's readiness names what it lacks",
        ),
    }
}

/// Held, and renewed before our eyes: clocks need not agree.
async fn lease(api: &Api, installed: &Installed) -> Finding {
    let namespace = &installed.namespace;
    let path = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/penstock-controller");
    let begun = Instant::now();
    let mut first: Option<Lease> = None;
    loop {
        let lease = match api.get::<Lease>(&path).await {
            Ok(lease) => lease,
            Err(Denied::Absent) => return no_lead(namespace, "no controller has ever led"),
            Err(denied) => {
                let told = format!("the lease can't be read: {}", denied.why());
                return Finding::warning(told, "ask for the right to get leases there");
            }
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.filter(|holder| !holder.is_empty());
        let before = first.as_ref().and_then(|lease| lease.spec.as_ref()).map(|spec| &spec.renew_time);
        match holder {
            Some(holder) if before.is_some_and(|before| *before != spec.renew_time) => {
                return Finding::good(format!("{holder} leads, and renews its lease"));
            }
            holder if begun.elapsed() > RENEWED => {
                let told = match holder {
                    Some(holder) => format!("{holder} holds the lease and does not renew it"),
                    None => "nobody holds the lease".to_owned(),
                };
                return no_lead(namespace, &told);
            }
            _ => {}
        }
        first.get_or_insert(lease);
        sleep(LOOK).await;
    }
}

fn no_lead(namespace: &str, told: &str) -> Finding {
    Finding::bad(
        told,
        format!(
            "releases stand still, traffic goes on as divided; see: kubectl -n {namespace} logs -l {LABEL} --tail=50"
        ),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::check::report::Mark;

    fn deployment(container: serde_json::Value, ready: i32) -> Installed {
        let object = json!({
            "metadata": {"name": "penstock-controller", "namespace": "penstock-system"},
            "spec": {
                "replicas": 2,
                "selector": {},
                "template": {"spec": {"serviceAccountName": "penstock-controller", "containers": [container]}},
            },
            "status": {"readyReplicas": ready},
        });
        read(&serde_json::from_value(object).unwrap()).unwrap()
    }

    #[test]
    fn options_are_found_however_they_are_written() {
        let args = json!({"name": "penstock-controller", "args": ["controller", "--prometheus=http://p:9090", "--watch-namespace", "shop"]});
        let installed = deployment(args, 2);
        assert_eq!(installed.prometheus.as_deref(), Some("http://p:9090"));
        assert_eq!(installed.watches.as_deref(), Some("shop"));
        let env = json!({"name": "x", "env": [{"name": "PENSTOCK_PROMETHEUS", "value": "http://q"}, {"name": "PENSTOCK_WATCH_NAMESPACE", "value": ""}]});
        let installed = deployment(env, 2);
        assert_eq!((installed.prometheus.as_deref(), installed.watches), (Some("http://q"), None));
    }

    #[test]
    fn one_controller_of_two_is_a_warning_and_none_is_wrong() {
        let container = json!({"name": "penstock-controller", "image": "a/b:0.1.0"});
        let mark = |ready| standing(&deployment(container.clone(), ready), Vec::new()).mark;
        assert_eq!([mark(2), mark(1), mark(0)], [Mark::Good, Mark::Warning, Mark::Bad]);
    }

    #[test]
    fn a_version_is_read_from_a_tag_and_no_other_word() {
        let tags =
            ["r:5000/a/b:1.2.3", "a/b:1.2.3@sha256:0", "a/b@sha256:0", "a:latest", "r:5000/a"].map(tag);
        let version = Some("1.2.3".to_owned());
        assert_eq!(tags, [version.clone(), version, None, None, None]);
        let marks = ["0.0.9", env!("CARGO_PKG_VERSION"), "99.0.0", ""].map(|v| told_version(v).mark);
        assert_eq!(marks, [Mark::Warning, Mark::Good, Mark::Warning, Mark::Warning]);
    }

    #[test]
    fn rights_are_those_of_the_manifests() {
        let all = rights::given(RIGHTS, None);
        let words: Vec<_> = all.iter().map(Right::words).collect();
        for right in [
            "patch rollouts.penstock.dev",
            "update rollouts.penstock.dev/status",
            "create roles.rbac.authorization.k8s.io penstock-router",
        ] {
            assert!(words.iter().any(|word| word == right), "{right} in {words:?}");
        }
        assert!(rights::given(RIGHTS, Some("shop")).iter().all(|r| r.namespace.as_deref() == Some("shop")));
    }
}
