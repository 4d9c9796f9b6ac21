//! Whether files would be taken, without applying them.

use std::io::{Write, stdout};
use std::path::PathBuf;

use anyhow::Result;
use penstock_core::state::spoken;
use penstock_core::strategy::{Step, Strategy};
use penstock_crds::{Admitted, Document, Facts, Refusal, clashes, inspect, read};
use serde_json::Value;

use super::files::{Input, load};
use crate::cli::Exit;
use crate::cli::paint::clean;
use crate::cli::place::{Cluster, Where, listed};

/// Most files that are named in one line.
const FILES: usize = 3;

/// Files to look at.
pub(super) struct Manifests {
    pub(super) files: Vec<PathBuf>,
    /// Whether the cluster is asked, too.
    pub(super) cluster: bool,
}

impl Manifests {
    pub(super) fn run(&self, place: &Where) -> Result<Exit> {
        let mut inputs = Vec::new();
        for file in &self.files {
            inputs.extend(load(file)?);
        }
        let asks = self.cluster || place.names_a_cluster();
        let cluster = asks.then(|| place.cluster()).transpose()?;
        let report = self.report(&inputs, place.namespace.as_deref(), cluster.as_ref())?;
        stdout().write_all(report.text.as_bytes())?;
        Ok(if report.refused { Exit::Refused } else { Exit::Good })
    }
}

struct Report {
    text: String,
    refused: bool,
}

impl Report {
    fn say(&mut self, line: &str) {
        self.text.push_str(&clean(line));
        self.text.push('\n');
    }

    fn refuse(&mut self, line: &str) {
        self.refused = true;
        self.say(line);
    }
}

impl Manifests {
    fn report(&self, inputs: &[Input], namespace: Option<&str>, cluster: Option<&Cluster>) -> Result<Report> {
        let mut report = Report { text: String::new(), refused: false };
        let mut admitted: Vec<(Document, Facts)> = Vec::new();
        let mut rollouts = 0;
        for result in inputs.iter().flat_map(|input| read(&input.bytes, &input.name)) {
            match result {
                Err(error) => report.refuse(&error.to_string()),
                Ok(document) if !document.is_rollout() => report.say(&other(&document)),
                Ok(mut document) => {
                    rollouts += 1;
                    let own = namespace.or(cluster.map(Cluster::own_namespace));
                    own.iter().for_each(|own| name_namespace(&mut document.value, own));
                    if let Some(well) = judge(&document, &mut report) {
                        if let Some(cluster) = cluster {
                            ask(cluster, &document, &well, &mut report)?;
                        }
                        admitted.push((document, well.facts));
                    }
                }
            }
        }
        for (n, refusal) in clashes(admitted.iter().map(|(_, facts)| facts)) {
            report.refuse(&line(&admitted[n].0, &refusal, ""));
        }
        if rollouts == 0 && !report.refused {
            let names: Vec<_> = inputs.iter().map(|input| input.name.clone()).collect();
            report.refuse(&format!(
                "{}: no Rollout was found; write `apiVersion: {}` and `kind: {}`",
                listed(&names, FILES),
                penstock_crds::API_VERSION,
                penstock_crds::KIND
            ));
        }
        Ok(report)
    }
}

/// Where it would be applied to.
fn name_namespace(object: &mut Value, namespace: &str) {
    let Some(Value::Object(metadata)) = object.get_mut("metadata") else { return };
    let there = metadata.get("namespace").and_then(Value::as_str).unwrap_or_default();
    if there.is_empty() {
        metadata.insert("namespace".to_owned(), namespace.into());
    }
}

/// What the cluster says.
fn ask(cluster: &Cluster, document: &Document, well: &Admitted, report: &mut Report) -> Result<()> {
    for said in cluster.inspect(&document.value, well)? {
        let path = if said.path.is_empty() { String::new() } else { format!("{}: ", said.path) };
        let line = format!("{}{}: {path}{}", document.file, place(document, said.path), said.text);
        if said.refused { report.refuse(&line) } else { report.say(&line) }
    }
    Ok(())
}

fn other(document: &Document) -> String {
    let version = document.value.get("apiVersion").and_then(serde_json::Value::as_str).unwrap_or_default();
    let (kind, name) = (document.kind(), document.name());
    format!("{}{}: {version} {kind} {name} is left as it is", document.file, place(document, ""))
}

fn judge(document: &Document, report: &mut Report) -> Option<Admitted> {
    let (admitted, warnings) = inspect(&document.value);
    match admitted {
        Ok(well) => {
            warnings.iter().for_each(|warning| report.say(&line(document, warning, "warning: ")));
            let Admitted { strategy, facts, .. } = &well;
            let head = format!("{}{}: Rollout {} is well", document.file, place(document, ""), facts.name);
            report.say(&format!("{head}: revision {}; {}", strategy.revision, way(strategy)));
            Some(well)
        }
        Err(mut refusals) => {
            refusals.sort_by_key(|refusal| document.place(&refusal.path));
            refusals.iter().for_each(|refusal| report.refuse(&line(document, refusal, "")));
            warnings.iter().for_each(|warning| report.say(&line(document, warning, "warning: ")));
            None
        }
    }
}

fn line(document: &Document, refusal: &Refusal, kind: &str) -> String {
    format!("{}{}: {kind}{refusal}", document.file, place(document, &refusal.path))
}

fn place(document: &Document, path: &str) -> String {
    document.place(path).map_or_else(String::new, |place| format!(":{}", place.line))
}

/// The way of a release in a few words: `10 %, 5m, 25 %, until promoted, 100 %`.
fn way(strategy: &Strategy) -> String {
    let step = |step: &Step| match step {
        Step::SetWeight(weight) => weight.to_string(),
        Step::Pause(Some(duration)) => spoken(*duration),
        Step::Pause(None) => "until promoted".to_owned(),
        Step::SetCanaryScale(scale) => scale.to_string(),
        Step::Gate(_) => "gate".to_owned(),
    };
    let steps: Vec<String> = strategy.steps.iter().map(step).collect();
    let metrics: Vec<&str> = strategy.analysis.metrics.iter().map(|m| m.name.as_str()).collect();
    let judged = if metrics.is_empty() {
        "not judged".to_owned()
    } else {
        format!("judged on {}", metrics.join(", "))
    };
    if steps.is_empty() {
        format!("all at once; {judged}")
    } else {
        format!("steps {}; {judged}", steps.join(", "))
    }
}
