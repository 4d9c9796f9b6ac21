//! `penstock check`: whether a cluster, Rollouts on it, or files are as they should be. Nothing is written.

mod api;
mod cluster;
mod controller;
mod definition;
mod files;
mod folder;
mod manifests;
mod numbers;
mod report;
mod rights;
mod rollout;

use std::io::{Write, stdout};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::{Args, ValueEnum, ValueHint};

use super::order::time;
use super::paint::Paint;
use super::place::{Either, Misused, Scope, Target, Where};
use super::{Exit, called, complete};
use report::{Mark, Report};

/// Time between two looks while it is waited for.
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
#[command(after_help = "\
Without a name, the cluster and what is installed there; in a folder of `penstock local`, the folder. What exists as a
file is a file; rollout/NAME is always a Rollout.

Examples:
  penstock check --pre                     before installing: version, rights, Gateway API, what is in the way
  penstock check                           after it: controller, rights, lease, Prometheus, Rollouts
  penstock check --wait 2m                 the same, until all is well
  penstock check checkout -n shop          one Rollout: route, routers, Service, selector, pods, series
  penstock check checkout.yaml             a file, without any cluster
  penstock check checkout.yaml --cluster   also whether the cluster would take it: nothing is written

It ends with 1 when anything is wrong; warnings (!) alone end with 0.")]
pub(super) struct Check {
    /// Rollouts by name, or files, folders with files, or - for the standard input
    #[arg(value_name = "NAME|FILE", value_hint = ValueHint::FilePath, add = complete::rollouts())]
    what: Vec<String>,
    /// Whether Penstock can be installed, and by you
    #[arg(long, conflicts_with_all = ["what", "cluster"])]
    pre: bool,
    /// With --pre: a Prometheus that is to judge, as `penstock install --prometheus` takes it
    #[arg(long, value_name = "URL", requires = "pre")]
    prometheus: Option<String>,
    /// For files, also ask the cluster: its rules, the Rollouts and Services that are there. --context and --kubeconfig
    /// imply it
    #[arg(long)]
    cluster: bool,
    /// Look again until nothing is wrong, for so long: 30s, 2m
    #[arg(long, value_name = "TIME", value_parser = time)]
    wait: Option<Duration>,
    /// How to show it
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<Output>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For pipelines
    Json,
}

impl Check {
    pub(super) fn run(&self, place: &Where) -> Result<Exit> {
        let (files, names): (Vec<_>, Vec<_>) = self.what.iter().partition(|what| is_file(what));
        match (files.is_empty(), names.is_empty()) {
            (false, false) => bail!(Misused(format!(
                "`{}` is a file and `{}` none: check files and Rollouts one after the other",
                files[0], names[0]
            ))),
            (false, true) => {
                if self.wait.is_some() || self.output.is_some() {
                    bail!(Misused("--wait and --output are for clusters and Rollouts, not for files".into()));
                }
                let files = files.into_iter().map(PathBuf::from).collect();
                manifests::Manifests { files, cluster: self.cluster }.run(place)
            }
            (true, _) if self.cluster => {
                bail!(Misused("--cluster is for files: without any, the cluster is asked anyhow".into()))
            }
            (true, _) => self.look(place, &names),
        }
    }

    fn look(&self, place: &Where, names: &[&String]) -> Result<Exit> {
        let namespace = place.namespace.as_deref();
        let targets: Vec<_> = names.iter().map(|name| Target::new(named(name), namespace)).collect();
        let scope = Scope { namespace: place.namespace.clone(), everywhere: place.namespace.is_none() };
        match if self.pre { Either::Cluster(Box::new(place.cluster()?)) } else { place.either()? } {
            Either::Cluster(cluster) => self.show(|| match (self.pre, targets.as_slice()) {
                (true, _) => cluster::before(&cluster, self.prometheus.as_deref()),
                (false, []) => cluster::after(&cluster, &scope),
                (false, targets) => cluster::rollouts(&cluster, targets),
            }),
            Either::Folder { dir, .. } => self.show(|| folder::check(&dir, &targets, namespace)),
        }
    }

    /// Looks, again and again where it is asked for, and shows the last of it.
    fn show(&self, look: impl Fn() -> Result<Report>) -> Result<Exit> {
        let begun = Instant::now();
        let patience = self.wait.unwrap_or_default();
        let report = loop {
            let report = look();
            let well = report.as_ref().is_ok_and(|report| report.worst() != Mark::Bad);
            if well || begun.elapsed() >= patience {
                break report?;
            }
            sleep(AGAIN.min(patience.saturating_sub(begun.elapsed())));
        };
        let text = match self.output {
            Some(Output::Json) => format!("{}\n", serde_json::to_string_pretty(&report.json())?),
            None => report.text(Paint::for_stdout()),
        };
        stdout().write_all(text.as_bytes())?;
        Ok(if report.worst() == Mark::Bad { Exit::Refused } else { Exit::Good })
    }
}

/// What is there as a file, or could be nothing else.
fn is_file(what: &str) -> bool {
    if what.starts_with("rollout/") {
        return false;
    }
    let endings = [".yaml", ".yml", ".json", "/"];
    let starts = ["/", "./", "../", "~"];
    what == "-"
        || endings.iter().any(|end| what.ends_with(end))
        || starts.iter().any(|start| what.starts_with(start))
        || Path::new(what).exists()
}

fn named(what: &str) -> &str {
    what.strip_prefix("rollout/").unwrap_or(what)
}

/// What is to be typed to come back here.
fn me() -> String {
    called::name()
}

#[cfg(test)]
mod tests;
