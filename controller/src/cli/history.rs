//! `penstock history`: the revisions of a Rollout, what became of them, and by whom.

use std::io::{Write, stdout};

use anyhow::Result;
use clap::{Args, ValueEnum};
use k8s_openapi::jiff::fmt::strtime;
use penstock_core::time::Time;
use penstock_crds::{DecisionRecord, Phase, RolloutStatus, stamp};
use serde_json::{Value, json};

use super::complete;
use super::paint::{Ink, Paint, clean};
use super::place::{Kept, Target, Where};
use super::{Exit, show};

const COLUMNS: [&str; 6] = ["REVISION", "ROLE", "SINCE", "IMAGE", "OUTCOME", "BY"];

#[derive(Debug, Args)]
#[command(after_help = "\
Newest first. What became of a revision is known as long as its decision is among the last 20.

Examples:
  penstock history checkout
  penstock undo checkout --to-revision 5c6b7d9f42")]
pub(super) struct History {
    /// The Rollout's name, or NAMESPACE/NAME
    #[arg(value_name = "NAME", add = complete::rollouts())]
    name: String,
    /// How to show it
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<Output>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For programs
    Json,
}

/// One revision, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Past {
    revision: String,
    role: &'static str,
    since: Option<Time>,
    images: Vec<String>,
    outcome: String,
    by: Option<String>,
}

impl History {
    pub(super) fn run(&self, place: &Where) -> Result<Exit> {
        let target = Target::new(&self.name, place.namespace.as_deref());
        let place = place.place()?;
        let saved = place.find(&target)?;
        let status = saved.rollout.status.clone().unwrap_or_default();
        let all = history(&place.kept(&saved)?, &status);
        let text = match self.output {
            Some(Output::Json) => format!("{}\n", serde_json::to_string_pretty(&objects(&all))?),
            None if all.is_empty() => format!("{} has no revision yet\n", saved.name()),
            None => text(&all, Paint::for_stdout()),
        };
        stdout().write_all(text.as_bytes())?;
        Ok(Exit::Good)
    }
}

fn history(kept: &[Kept], status: &RolloutStatus) -> Vec<Past> {
    let mut all: Vec<Past> = kept.iter().map(|kept| past(kept, status)).collect();
    all.sort_by(|a, b| (b.since, &b.revision).cmp(&(a.since, &a.revision)));
    all
}

fn past(kept: &Kept, status: &RolloutStatus) -> Past {
    let name = Some(&kept.revision);
    let role = match name {
        name if name == status.stable_revision.as_ref() => "stable",
        name if name == status.canary_revision.as_ref() => "canary",
        _ => "old",
    };
    let about: Vec<_> = status.decisions.iter().filter(|d| d.revision.as_ref() == name).collect();
    let last = about.iter().rev().find(|decision| ending(decision).is_some());
    let outcome = match (role, last) {
        ("stable", _) => "in service".to_owned(),
        ("canary", _) if status.phase != Phase::Aborted => "under way".to_owned(),
        (_, Some(decision)) => ending(decision).unwrap_or_default(),
        _ => "-".to_owned(),
    };
    // What was decided by the judge may have been moved on by a person.
    let person = about.iter().rev().find(|d| d.who != "penstock" && d.what != "Refused");
    let by = last.filter(|d| d.who != "penstock").or(person).or(last).map(|d| clean(&d.who));
    Past { revision: clean(&kept.revision), role, since: kept.created, images: kept.images(), outcome, by }
}

/// What a decision made of its revision, if it ended anything.
fn ending(decision: &DecisionRecord) -> Option<String> {
    Some(match decision.what.as_str() {
        "Aborted" => format!("aborted: {}", clean(&decision.why)),
        "Superseded" => "given up for a newer one".to_owned(),
        "Reverted" => "ended, the stable one was wanted again".to_owned(),
        "Completed" | "Deployed" => "was in service".to_owned(),
        _ => return None,
    })
}

fn text(all: &[Past], paint: Paint) -> String {
    let row = |past: &Past| {
        let since = past.since.and_then(stamp).and_then(|t| strtime::format("%Y-%m-%d %H:%M:%SZ", t.0).ok());
        [
            past.revision.clone(),
            past.role.to_owned(),
            since.unwrap_or_else(|| "-".to_owned()),
            past.images.join(","),
            past.outcome.clone(),
            past.by.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    };
    let rows: Vec<_> = [COLUMNS.map(str::to_owned)].into_iter().chain(all.iter().map(row)).collect();
    let lines = show::columns(&rows);
    let colored = |(n, line): (usize, String)| if n == 0 { paint.ink(Ink::Dim, &line) } else { line };
    lines.into_iter().enumerate().map(|line| colored(line) + "\n").collect()
}

fn objects(all: &[Past]) -> Value {
    let object = |past: &Past| {
        json!({
            "revision": past.revision,
            "role": past.role,
            "created": past.since.and_then(stamp),
            "images": past.images,
            "outcome": past.outcome,
            "by": past.by,
        })
    };
    all.iter().map(object).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kept(revision: &str, at: u64, image: &str) -> Kept {
        let template = json!({"spec": {"containers": [{"name": "web", "image": image}]}});
        Kept { revision: revision.to_owned(), created: Some(Time(1_795_246_275_000 + at)), template }
    }

    fn status() -> RolloutStatus {
        let decided = |what: &str, revision: &str, who: &str, why: &str| json!({"what": what, "why": why, "who": who, "revision": revision});
        serde_json::from_value(json!({
            "phase": "Aborted",
            "stableRevision": "bbb",
            "canaryRevision": "ccc",
            "decisions": [
                decided("Deployed", "aaa", "penstock", "first"),
                decided("Promoted", "bbb", "ada", "looks good"),
                decided("Completed", "bbb", "penstock", "all steps are done"),
                decided("Aborted", "ccc", "penstock", "errors: 5 of 10 requests failed (50 %), limit 1 %"),
            ],
        }))
        .unwrap()
    }

    #[test]
    fn every_revision_says_what_became_of_it_and_by_whom() {
        let kept = [
            kept("aaa", 0, "shop/checkout:1"),
            kept("ccc", 2000, "shop/checkout:3"),
            kept("bbb", 1000, "shop/checkout:2"),
            kept("zzz", 500, "shop/checkout:0"),
        ];
        insta::assert_snapshot!(text(&history(&kept, &status()), Paint::default()));
    }
}
