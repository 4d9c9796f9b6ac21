//! The page with all results.

use std::time::Duration;

use crate::bench::{Bench, Effort};
use crate::machine::Machine;
use crate::table::{Goal, Section, markdown};

/// Writes it in Markdown.
pub(crate) fn page(bench: &Bench, sections: &[Section], took: Duration) -> String {
    let head = include_str!("../configs/page.md");
    let text = head.replace("@GOALS@", &goals(sections)).replace("@MACHINE@", &machine(bench, took));
    let parts: Vec<String> = sections.iter().map(section).collect();
    text.replace("@SECTIONS@", parts.join("\n").trim_end())
}

fn goals(sections: &[Section]) -> String {
    let columns = ["what", "goal", "measured", "held"].map(str::to_owned);
    let row =
        |goal: &Goal| vec![goal.what.clone(), goal.goal.clone(), goal.measured.clone(), goal.held.words()];
    let rows: Vec<Vec<String>> = sections.iter().flat_map(|section| &section.goals).map(row).collect();
    markdown(&columns, &rows).trim_end().to_owned()
}

fn machine(bench: &Bench, took: Duration) -> String {
    let Effort { rounds, latency_rounds, time } = bench.effort;
    let mut facts = bench.machine.facts();
    facts.push(bench.tools.versions.join(" · "));
    facts.push(format!("penstock-proxy runs with `{}`", bench.tools.features.join(" ")));
    facts.push(format!(
        "rounds: {rounds} of {} s each, {latency_rounds} for latencies, {} minutes in all",
        time.as_secs(),
        took.as_secs().div_ceil(60)
    ));
    facts.push(others(bench));
    let facts: Vec<String> = facts.iter().map(|fact| format!("- {fact}")).collect();
    facts.join("\n")
}

/// The run itself wants three cores or so.
fn others(bench: &Bench) -> String {
    let average = Machine::load_average();
    let many = average.parse::<f64>().is_ok_and(|average| average > bench.machine.cores as f64 + 3.0);
    let hint = if many {
        ": others were at work, an idle machine has better figures, of latency above all"
    } else {
        ""
    };
    format!("tasks that wanted to run in the last minute, on average: {average}{hint}")
}

fn section(section: &Section) -> String {
    let table =
        if section.rows.is_empty() { String::new() } else { markdown(&section.columns, &section.rows) };
    format!("## {}\n\n{}\n\n{table}", section.title, section.about)
}
