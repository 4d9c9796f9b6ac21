//! What the demo shows: a live picture on a terminal, plain lines elsewhere.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write, stdout};
use std::time::Duration;

use penstock_crds::{DecisionRecord, Phase, RolloutStatus};

use super::account::{Account, Tally};
use super::script::{NAME, Scene};
use crate::cli::paint::{Ink, Paint, clean};

/// Decisions that fit on the screen.
const LINES: usize = 12;

/// Everything that one picture is made of.
#[derive(Clone, Copy)]
pub(crate) struct Shown<'a> {
    pub(crate) scene: &'a Scene,
    pub(crate) status: &'a RolloutStatus,
    /// Names of the versions by revision.
    pub(crate) versions: &'a BTreeMap<String, &'static str>,
    /// All decisions until now.
    pub(crate) told: &'a [DecisionRecord],
    /// Those since the last picture.
    pub(crate) new: &'a [DecisionRecord],
    pub(crate) account: Option<&'a Account>,
    pub(crate) elapsed: Duration,
}

/// Where the demo is shown.
pub(crate) struct Screen {
    paint: Paint,
    live: bool,
    address: String,
    rate: u32,
    blank: bool,
}

impl Screen {
    /// A live picture where stdout is a terminal and `plain` is not asked for.
    pub(crate) fn new(plain: bool, address: String, rate: u32) -> Screen {
        let live = stdout().is_terminal() && !plain;
        Screen { paint: Paint::for_stdout(), live, address, rate, blank: true }
    }

    /// A scene begins.
    pub(crate) fn begin(&self, scene: &Scene) {
        if !self.live {
            say(&format!("\n{}", self.paint.ink(Ink::Bold, &title(scene))));
        }
    }

    /// Shows how things stand.
    pub(crate) fn draw(&mut self, shown: Shown<'_>) {
        if !self.live {
            let lines = shown.new.iter().map(|d| sentence(d, shown.versions));
            return lines.for_each(|line| say(&line));
        }
        let clear = if std::mem::take(&mut self.blank) { "\x1b[2J" } else { "" };
        let width = terminal_size::terminal_size().map_or(80, |(width, _)| usize::from(width.0));
        let picture = self.picture(shown, width);
        let lines: String = picture.lines().map(|line| format!("{line}\x1b[K\n")).collect();
        let mut out = stdout().lock();
        let _ = write!(out, "{clear}\x1b[H{lines}\x1b[J").and_then(|()| out.flush());
    }

    fn picture(&self, shown: Shown<'_>, width: usize) -> String {
        let paint = self.paint;
        let seconds = shown.elapsed.as_secs();
        let window = shown.account.and_then(|account| account.windows().last());
        let scene = window
            .map_or(String::new(), |w| format!("for {} s", shown.elapsed.saturating_sub(w.begun).as_secs()));
        let mut text = format!(
            "{}  {}, {} requests a second  {}:{:02}\n\n{}  {} {scene}\n\n",
            paint.ink(Ink::Bold, "penstock demo"),
            self.address,
            self.rate,
            seconds / 60,
            seconds % 60,
            paint.ink(Ink::Bold, &title(shown.scene)),
            paint.phase(shown.status.phase),
        );
        text += &self.revisions(shown);
        text += "\n";
        let from = shown.told.len().saturating_sub(LINES);
        for decision in shown.told.iter().skip(from) {
            text += &format!("{}\n", colored(paint, decision, shown.versions, width));
        }
        text
    }

    /// A line for each version with traffic or pods: its share, and what clients saw of it in this scene.
    fn revisions(&self, shown: Shown<'_>) -> String {
        let head = format!(
            "{:<4} {:<20} {:>5} {:>6} {:>9} {:>16} {:>9}\n",
            "", "", "share", "ready", "requests", "failed", "p99"
        );
        let mut text = self.paint.ink(Ink::Dim, &head);
        let window = shown.account.and_then(|account| account.windows().last());
        for revision in shown.status.revisions.iter().filter(|r| r.scale > 0 || r.weight > 0) {
            let name = shown.versions.get(&revision.name).copied().unwrap_or("?");
            let tally = window.and_then(|window| window.revisions.get(name));
            let ready = format!("{}/{}", revision.ready, revision.scale);
            let bar = self.paint.bar(revision.weight, revision.role);
            text += &format!("{name:<4} {bar} {:>3} % {ready:>6} {}\n", revision.weight, counts(tally));
        }
        text
    }
}

fn counts(tally: Option<&Tally>) -> String {
    let Some(tally) = tally else { return format!("{:>9} {:>16} {:>9}", 0, "0", "") };
    let failed = format!("{} ({:.1} %)", tally.failed, 100.0 * tally.failed_share());
    format!("{:>9} {failed:>16} {:>9}", tally.ended, latency(tally))
}

/// The p99 of a tally, in milliseconds; empty before the first request.
pub(crate) fn latency(tally: &Tally) -> String {
    tally.quantile(0.99).map_or(String::new(), |p99| format!("{:.1} ms", p99.as_secs_f64() * 1000.0))
}

fn title(scene: &Scene) -> String {
    format!("{NAME} {}: {}", scene.version, scene.like)
}

/// A decision as a sentence, with the versions' own names in place of the revisions'.
fn sentence(decision: &DecisionRecord, versions: &BTreeMap<String, &'static str>) -> String {
    let time = decision.time.as_ref().map(|t| t.0.strftime("%H:%M:%S").to_string()).unwrap_or_default();
    let weight = decision.weight.map(|w| format!(" {w} %")).unwrap_or_default();
    let revision = decision.revision.clone().unwrap_or_default();
    let text = format!("{time}  {:<10} {revision}{weight}: {}", decision.what, clean(&decision.why));
    versions.iter().fold(text, |text, (revision, version)| text.replace(revision.as_str(), version))
}

/// As much of a sentence as fits into a line.
fn colored(
    paint: Paint,
    decision: &DecisionRecord,
    versions: &BTreeMap<String, &'static str>,
    width: usize,
) -> String {
    let text = shortened(&sentence(decision, versions), width);
    match decision.what.as_str() {
        "Aborted" => paint.ink(Ink::Red, &text),
        "Completed" | "Deployed" => paint.ink(Ink::Green, &text),
        "Held" | "Paused" | "Refused" | "Repaired" => paint.ink(Ink::Yellow, &text),
        _ => text,
    }
}

fn shortened(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// The word for how a release ended.
pub(crate) fn outcome(phase: Phase, took: Duration) -> String {
    let word = match phase {
        Phase::Stable => "shipped",
        Phase::Aborted => "rolled back",
        Phase::Pending
        | Phase::Deploying
        | Phase::Progressing
        | Phase::Held
        | Phase::Paused
        | Phase::Stalled
        | Phase::Invalid
        | Phase::Unknown => "not ended",
    };
    format!("{word} in {:.1} s", took.as_secs_f64())
}

/// A line on stdout. A reader that has left is no reason to stop halfway.
pub(crate) fn say(text: &str) {
    let mut out = stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}
