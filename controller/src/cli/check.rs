//! `penstock check`: whether files would be taken, without applying them.

use std::fs;
use std::io::{ErrorKind, Read, Write, stdin, stdout};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use penstock_core::state::spoken;
use penstock_core::strategy::{Step, Strategy};
use penstock_crds::{Admitted, Document, Facts, MAX_BYTES, Refusal, clashes, inspect, read};

use super::Exit;
use super::paint::clean;
use super::place::NotFound;

#[derive(Debug, Args)]
pub(super) struct Check {
    /// Files, folders with files, or - for the standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

impl Check {
    pub(super) fn run(&self) -> Result<Exit> {
        let mut inputs = Vec::new();
        for file in &self.files {
            inputs.extend(load(file)?);
        }
        let report = report(&inputs);
        stdout().write_all(report.text.as_bytes())?;
        Ok(if report.refused { Exit::Refused } else { Exit::Good })
    }
}

/// A file's name and what is in it.
struct Input {
    name: String,
    bytes: Vec<u8>,
}

fn load(file: &Path) -> Result<Vec<Input>> {
    if file == Path::new("-") {
        return Ok(vec![Input { name: "<stdin>".to_owned(), bytes: bounded(stdin())? }]);
    }
    let files = if file.is_dir() { yaml_files(file)? } else { vec![file.to_owned()] };
    if files.is_empty() {
        bail!(NotFound(format!("{} has no .yaml, .yml or .json file", file.display())));
    }
    files.iter().map(|file| open(file)).collect()
}

fn yaml_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let name = || format!("can't list {}", dir.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).with_context(name)? {
        files.push(entry.with_context(name)?.path());
    }
    files.retain(|file| file.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json"));
    files.sort();
    Ok(files)
}

fn open(file: &Path) -> Result<Input> {
    let opened = match fs::File::open(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!(NotFound(format!("there is no file {}", file.display())))
        }
        opened => opened.and_then(bounded),
    };
    let bytes = opened.with_context(|| format!("can't read {}", file.display()))?;
    Ok(Input { name: file.display().to_string(), bytes })
}

/// One byte more than may be: enough to be refused.
fn bounded(from: impl Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
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

fn report(inputs: &[Input]) -> Report {
    let mut report = Report { text: String::new(), refused: false };
    let mut admitted: Vec<(Document, Facts)> = Vec::new();
    let mut rollouts = 0;
    for result in inputs.iter().flat_map(|input| read(&input.bytes, &input.name)) {
        match result {
            Err(error) => report.refuse(&error.to_string()),
            Ok(document) if !document.is_rollout() => report.say(&other(&document)),
            Ok(document) => {
                rollouts += 1;
                admitted.extend(judge(&document, &mut report).map(|facts| (document, facts)));
            }
        }
    }
    for (n, refusal) in clashes(admitted.iter().map(|(_, facts)| facts)) {
        report.refuse(&line(&admitted[n].0, &refusal, ""));
    }
    if rollouts == 0 && !report.refused {
        let remedy =
            format!("write `apiVersion: {}` and `kind: {}`", penstock_crds::API_VERSION, penstock_crds::KIND);
        report.refuse(&format!("no Rollout was found; {remedy}"));
    }
    report
}

fn other(document: &Document) -> String {
    let version = document.value.get("apiVersion").and_then(serde_json::Value::as_str).unwrap_or_default();
    let (kind, name) = (document.kind(), document.name());
    format!("{}{}: {version} {kind} {name} is left as it is", document.file, place(document, ""))
}

fn judge(document: &Document, report: &mut Report) -> Option<Facts> {
    let (admitted, warnings) = inspect(&document.value);
    match admitted {
        Ok(Admitted { strategy, facts, .. }) => {
            warnings.iter().for_each(|warning| report.say(&line(document, warning, "warning: ")));
            let head = format!("{}{}: Rollout {} is well", document.file, place(document, ""), facts.name);
            report.say(&format!("{head}: revision {}; {}", strategy.revision, way(&strategy)));
            Some(facts)
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
