//! `penstock why`: the story of a Rollout.

use std::io::{Write, stdout};

use anyhow::Result;
use clap::Args;
use k8s_openapi::jiff::fmt::strtime;
use penstock_core::time::Time;
use penstock_crds::words::sentence;
use penstock_crds::{Rollout, time_of};

use super::paint::{Ink, Paint, age, clean};
use super::place::{Target, Where};
use super::{Exit, complete, now};

#[derive(Debug, Args)]
pub(super) struct Why {
    /// The Rollout's name, or NAMESPACE/NAME
    #[arg(value_name = "NAME", add = complete::rollouts())]
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
