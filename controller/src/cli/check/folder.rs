//! A folder of `penstock local`, and its Rollouts.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use penstock_core::revision::Revision;
use penstock_core::sample::{Asks, NoData};
use penstock_crds::{Phase, RolloutStatus, admit};
use penstock_driver::ask::proxies::Proxies;
use penstock_driver::local::Home;
use penstock_driver::local::instance::Instance;
use penstock_driver::local::proxy;
use penstock_proxy_api::Status;
use penstock_signals::RolloutName;
use tokio::runtime::Builder;

use super::me;
use super::numbers::{self, Silent};
use super::report::{Finding, Report, Section, counted};
use crate::cli::place::{Saved, Target};
use crate::cli::{now, store};

/// A proxy on this machine answers within this time.
const PATIENCE: Duration = Duration::from_secs(2);

/// The folder, or some Rollouts of it.
///
/// Errors: there is no such folder or Rollout.
pub(super) fn check(dir: &Path, targets: &[Target], namespace: Option<&str>) -> Result<Report> {
    let home = Home::at(dir)?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let proxy = Proxy::ask(&home).await?;
        let mut sections = Vec::new();
        let rollouts = if targets.is_empty() {
            sections.push(Section::new(format!("Folder {}", dir.display()), around(&home, &proxy)));
            let all = store::all(dir).unwrap_or_default();
            all.into_iter().filter(|saved| namespace.is_none_or(|n| n == saved.namespace())).collect()
        } else {
            let find = |target: &Target| store::find(dir, &target.name, target.namespace.as_deref());
            targets.iter().map(find).collect::<Result<Vec<_>>>()?
        };
        for saved in &rollouts {
            let name = format!("Rollout {}/{}", saved.namespace(), saved.name());
            sections.push(Section::new(name, one(saved, &proxy).await));
        }
        Ok(Report { sections })
    })
}

/// The proxy of the folder.
struct Proxy {
    asks: Proxies,
    /// Where it serves its report; `None`: none was ever started.
    admin: Option<String>,
    status: Option<Status>,
}

impl Proxy {
    async fn ask(home: &Home) -> Result<Proxy> {
        let asks = Proxies::new(PATIENCE)?;
        let admin = proxy::admin(home).map(|admin| admin.to_string());
        let told = match &admin {
            Some(admin) => asks.status(std::slice::from_ref(admin)).await,
            None => BTreeMap::new(),
        };
        let status = told.into_values().next().flatten();
        Ok(Proxy { asks, admin, status })
    }
}

fn around(home: &Home, proxy: &Proxy) -> Vec<Finding> {
    let dir = home.dir().display();
    let program = match proxy::program() {
        Ok(_) => Finding::good("the program of the proxy is there"),
        Err(error) => Finding::bad("the program of the proxy is missing", error.to_string()),
    };
    let runs = match Instance::holder(home) {
        Some(holder) => Finding::good(format!("{} local runs it, process {}", me(), holder.pid)),
        None => Finding::bad("nobody runs it: releases stand still", format!("{} local {dir}", me())),
    };
    let log = home.logs().join("penstock-proxy.log");
    let serves = match &proxy.status {
        Some(status) => Finding::good(format!("the proxy answers, version {}", status.version)),
        None => Finding::bad("the proxy gives no answer", format!("see {}", log.display())),
    };
    let problems = proxy.status.iter().flat_map(|status| &status.problems).take(10);
    let problems = problems.map(|problem| {
        Finding::warning(format!("the proxy can't use a file: {problem}"), "put it right in the manifest")
    });
    [program, runs, serves].into_iter().chain(problems).collect()
}

async fn one(saved: &Saved, proxy: &Proxy) -> Vec<Finding> {
    let status = saved.rollout.status.clone().unwrap_or_default();
    let mut findings = vec![standing(saved, &status), acknowledged(saved, &status, proxy)];
    findings.extend(status.revisions.iter().filter(|revision| revision.scale > 0).map(|revision| {
        let (name, ready, scale) = (&revision.name, revision.ready, revision.scale);
        let trouble = revision.trouble.as_deref().map(|trouble| format!(": {trouble}")).unwrap_or_default();
        let told = format!("revision {name}: {}", counted_of(ready, scale));
        match ready {
            ready if ready >= scale => Finding::good(told),
            _ => Finding::bad(format!("{told}{trouble}"), format!("{} logs {}", me(), saved.name())),
        }
    }));
    findings.extend(series(saved, &status, proxy).await);
    findings
}

fn counted_of(ready: i32, scale: i32) -> String {
    format!("{ready} of {} ready", counted(usize::try_from(scale).unwrap_or(0), "pod"))
}

fn standing(saved: &Saved, status: &RolloutStatus) -> Finding {
    let message = status.message.as_deref().map(|message| format!(": {message}")).unwrap_or_default();
    let told = format!("{}{message}", status.phase.as_str());
    let why = format!("{} why {}", me(), saved.name());
    match status.phase {
        Phase::Stalled | Phase::Invalid => Finding::bad(told, why),
        Phase::Aborted | Phase::Held | Phase::Pending | Phase::Unknown => Finding::warning(told, why),
        Phase::Deploying | Phase::Stable | Phase::Progressing | Phase::Paused => Finding::good(told),
    }
}

fn acknowledged(saved: &Saved, status: &RolloutStatus, proxy: &Proxy) -> Finding {
    let Some(told) = &proxy.status else {
        return Finding::bad("the proxy gives no answer: nobody serves it", format!("{} local", me()));
    };
    let ours =
        |r: &&penstock_proxy_api::RolloutStatus| r.namespace == saved.namespace() && r.name == saved.name();
    let Some(rollout) = told.rollouts.iter().find(ours) else {
        return Finding::bad("the proxy does not know it", format!("{} local makes its files again", me()));
    };
    let wanted = status.split.as_ref().and_then(|split| u64::try_from(split.generation).ok()).unwrap_or(0);
    match &rollout.listen {
        None => Finding::bad(
            "the proxy could not open its port",
            "somebody else has it: choose another one, by the Service's port or the annotation penstock.dev/local-port",
        ),
        Some(_) if rollout.generation < wanted => Finding::bad(
            format!("the proxy applies split {}, {wanted} is decided", rollout.generation),
            "see its problems above",
        ),
        Some(listen) => {
            Finding::good(format!("split {} is applied by the proxy at {listen}", rollout.generation))
        }
    }
}

async fn series(saved: &Saved, status: &RolloutStatus, proxy: &Proxy) -> Vec<Finding> {
    let Ok(admitted) = admit(&saved.rollout) else { return Vec::new() };
    let stable = status.stable_revision.clone().and_then(|name| Revision::new(name).ok());
    let (Some(stable), Some(admin)) = (stable, &proxy.admin) else { return Vec::new() };
    if admitted.facts.source != penstock_crds::Source::Default
        && admitted.facts.source != penstock_crds::Source::Proxy
    {
        return Vec::new();
    }
    let name = RolloutName { namespace: saved.namespace().to_owned(), name: saved.name().to_owned() };
    let mut questions = numbers::questions(&admitted.strategy.analysis.metrics, &stable, &stable);
    questions.retain(|question| !matches!(question.asks, Asks::Value(_)));
    let answers = proxy.asks.ask(std::slice::from_ref(admin), &name, &questions, now()).await;
    let told = answers.into_iter().map(|answer| {
        let asked = answer.result.map_err(|NoData(why)| Silent::NoData(why));
        numbers::series(&answer.metric, stable.as_str(), &asked)
    });
    told.collect()
}
