//! `penstock why`: the story of a Rollout.

use std::io::{Write, stdout};

use anyhow::Result;
use clap::Args;
use k8s_openapi::jiff::fmt::strtime;
use penstock_core::time::Time;
use penstock_crds::{DecisionRecord, Rollout, time_of};

use super::paint::{Ink, Paint, age, clean};
use super::place::{Target, Where};
use super::{Exit, now};

#[derive(Debug, Args)]
pub(super) struct Why {
    /// The Rollout's name, or NAMESPACE/NAME
    #[arg(value_name = "NAME")]
    name: String,
    /// Only the last so many decisions
    #[arg(long, value_name = "NUMBER")]
    last: Option<usize>,
}

impl Why {
    pub(super) fn run(&self, place: &Where) -> Result<Exit> {
        let saved = place.place()?.find(&Target::new(&self.name, place.namespace.as_deref()))?;
        let text = story(&saved.rollout, self.last.unwrap_or(usize::MAX), now(), Paint::for_stdout());
        stdout().write_all(text.as_bytes())?;
        Ok(Exit::Good)
    }
}

/// The decisions, oldest first, and how things stand.
fn story(rollout: &Rollout, last: usize, now: Time, paint: Paint) -> String {
    let Some(status) = &rollout.status else {
        return "nothing was decided yet\n".to_owned();
    };
    let skipped = status.decisions.len().saturating_sub(last);
    let told = status.decisions.iter().skip(skipped).map(|decision| {
        let time = decision.time.as_ref();
        let clock = time.and_then(|t| strtime::format("%Y-%m-%d %H:%M:%SZ", t.0).ok()).unwrap_or_default();
        let ago = time.map(|t| format!("{:>3} ago", age(now, time_of(t)))).unwrap_or_default();
        format!("{}  {}", paint.ink(Ink::Dim, &format!("{clock}  {ago}")), sentence(decision))
    });
    let mut lines: Vec<String> = told.collect();
    if lines.is_empty() {
        lines.push("nothing was decided yet".to_owned());
    }
    let message = status.message.as_deref().map(|m| format!(": {}", clean(m))).unwrap_or_default();
    lines.push(format!("{} {}{message}", paint.ink(Ink::Bold, "now"), paint.phase(status.phase)));
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// A decision as a sentence: who did what, and why.
pub(super) fn sentence(decision: &DecisionRecord) -> String {
    let who = clean(&decision.who);
    let revision = decision.revision.as_deref().map_or("it".to_owned(), clean);
    let at = decision.weight.map(|weight| format!(" at {weight} %")).unwrap_or_default();
    let to = decision.weight.map(|weight| format!(" to {weight} %")).unwrap_or_default();
    let what = match decision.what.as_str() {
        "Deployed" => format!("gave all traffic to {revision}"),
        "Started" => format!("began the release of {revision}"),
        "Advanced" => format!("raised {revision}{to}"),
        "Passed" => format!("passed a step of {revision}{at}"),
        "Held" => format!("holds {revision}{at}"),
        "Paused" => format!("paused {revision}{at}"),
        "Resumed" => format!("resumed {revision}{at}"),
        "Aborted" => format!("aborted {revision}"),
        "Superseded" => format!("gave up {revision} for a newer one"),
        "Reverted" => format!("ended the release of {revision}"),
        "Completed" => format!("made {revision} the stable revision"),
        "Retried" => format!("tries {revision} again"),
        "Undone" => format!("goes back to {revision}"),
        "Promoted" => format!("moved {revision} on"),
        "Refused" => "could not follow an order".to_owned(),
        "Repaired" => "put the split right".to_owned(),
        "Drained" => format!("takes the pods of {revision} away"),
        other => format!("{} {revision}", clean(&other.to_lowercase())),
    };
    format!("{who} {what}: {}", clean(&decision.why))
}

#[cfg(test)]
#[path = "why_tests.rs"]
mod tests;
