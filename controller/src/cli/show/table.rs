//! Several Rollouts, one line each.

use penstock_core::time::Time;
use penstock_crds::{RolloutStatus, time_of};

use crate::cli::paint::{Ink, Paint, age, clean};
use crate::cli::place::Saved;

const COLUMNS: [&str; 9] =
    ["NAMESPACE", "NAME", "STATUS", "STEP", "WEIGHT", "STABLE", "CANARY", "READY", "SINCE"];

/// One line for each Rollout.
pub(crate) fn table(all: &[Saved], now: Time, paint: Paint, wide: bool) -> String {
    if all.is_empty() {
        return "no Rollouts\n".to_owned();
    }
    let mut rows = vec![COLUMNS.map(str::to_owned).to_vec()];
    if wide {
        rows[0].extend(["SPLIT".to_owned(), "MESSAGE".to_owned()]);
    }
    rows.extend(all.iter().map(|saved| row(saved, now, wide)));
    let mut lines = columns(&rows).into_iter();
    let head = lines.next().map(|head| paint.ink(Ink::Dim, &head)).unwrap_or_default();
    let body = all.iter().zip(lines).map(|(saved, line)| colored(saved, &line, paint));
    [head].into_iter().chain(body).map(|line| line + "\n").collect()
}

fn row(saved: &Saved, now: Time, wide: bool) -> Vec<String> {
    let none = RolloutStatus::default();
    let status = saved.rollout.status.as_ref().unwrap_or(&none);
    let text = |text: &Option<String>| text.as_deref().map_or("-".to_owned(), clean);
    let step =
        status.step.zip(status.steps).map(|(step, steps)| format!("{}/{steps}", (step + 1).min(steps)));
    let weight =
        status.canary_revision.as_ref().and(status.split.as_ref()).map(|split| format!("{} %", split.weight));
    let ready = status.ready_replicas.zip(status.replicas).map(|(ready, all)| format!("{ready}/{all}"));
    let since = status.decisions.last().and_then(|d| d.time.as_ref()).map(|time| age(now, time_of(time)));
    let mut row = vec![
        clean(saved.namespace()),
        clean(saved.name()),
        status.phase.as_str().to_owned(),
        text(&step),
        text(&weight),
        text(&status.stable_revision),
        text(&status.canary_revision),
        text(&ready),
        text(&since),
    ];
    if wide {
        row.push(text(&status.split.as_ref().map(|split| split.generation.to_string())));
        row.push(text(&status.message));
    }
    row
}

/// Rows as lines, their cells below each other.
pub(crate) fn columns<R: AsRef<[String]>>(rows: &[R]) -> Vec<String> {
    let most = rows.iter().map(|row| row.as_ref().len()).max().unwrap_or(0);
    let cells = |n: usize| rows.iter().filter_map(move |row| row.as_ref().get(n));
    let widths: Vec<usize> =
        (0..most).map(|n| cells(n).map(|cell| cell.chars().count()).max().unwrap_or(0)).collect();
    rows.iter().map(|row| line(row.as_ref(), &widths)).collect()
}

fn line(row: &[String], widths: &[usize]) -> String {
    let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
    cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
}

fn colored(saved: &Saved, line: &str, paint: Paint) -> String {
    let phase = saved.rollout.status.as_ref().map(|s| s.phase).unwrap_or_default();
    // The word may be a Rollout's name, too: the column behind the name is meant.
    let from = line.find(saved.name()).map_or(0, |at| at + saved.name().len());
    match line[from..].find(phase.as_str()) {
        Some(at) => {
            let (before, rest) = line.split_at(from + at);
            format!("{before}{}{}", paint.phase(phase), &rest[phase.as_str().len()..])
        }
        None => line.to_owned(),
    }
}
