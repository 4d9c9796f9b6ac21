//! What is kept of a scenario for those who want to know why.

use std::fmt::Write;
use std::path::Path;

use anyhow::Result;

use super::kubectl::kubectl;
use super::setup::CONTROLLER;
use super::shop::Shop;

/// All that was told of the Rollout, a state in a line; without what only the machine reads.
pub(super) fn keep_journal(shop: &Shop) -> Result<()> {
    let mut text = String::new();
    for seen in shop.journal.states() {
        let mut status = seen.status();
        status.machine = None;
        let state = serde_json::json!({
            "at": seen.at,
            "generation": seen.rollout.as_ref().map(|rollout| rollout.metadata.generation),
            "annotations": seen.rollout.as_ref().map(|rollout| &rollout.metadata.annotations),
            "status": status,
        });
        writeln!(text, "{state}")?;
    }
    Ok(std::fs::write(shop.folder.join("states.jsonl"), text)?)
}

/// Objects, events and logs, as `kubectl` shows them.
pub(super) async fn keep_all(shop: &Shop, since: &str) {
    let namespace = shop.name.as_str();
    let pods = ["--prefix", "--timestamps", "--tail=-1", "--all-containers", "--ignore-errors"];
    let since = format!("--since-time={since}");
    let commands: [(&str, Vec<&str>); 7] = [
        ("rollout.yaml", vec!["get", "rollout", "-o", "yaml"]),
        (
            "objects.txt",
            vec!["get", "all,endpointslices,httproutes,serviceaccounts,poddisruptionbudgets", "-o", "wide"],
        ),
        ("objects.yaml", vec!["get", "replicasets,services,httproutes,pods", "-o", "yaml"]),
        ("events.txt", vec!["get", "events", "--sort-by=.lastTimestamp"]),
        ("routers.log", [&["logs", "-l", "penstock.dev/component=router"], &pods[..]].concat()),
        ("app.log", [&["logs", "-l", "app=checkout"], &pods[..]].concat()),
        ("controller.log", [&["logs", "-n", CONTROLLER.0, "-l", CONTROLLER.1, &since], &pods[..]].concat()),
    ];
    for (file, arguments) in commands {
        let said = kubectl(&[&["-n", namespace], arguments.as_slice()].concat()).await;
        keep(&shop.folder.join(file), &said.unwrap_or_else(|error| format!("{error:#}\n")));
    }
}

/// The last decisions, one in a line.
pub(super) fn decisions(shop: &Shop) -> String {
    let status = shop.journal.last().map(|seen| seen.status()).unwrap_or_default();
    let lines = status.decisions.iter().map(|decision| {
        let time = decision.time.as_ref().map(|time| time.0.to_string()).unwrap_or_default();
        format!("    {time} {} {:?} %: {} ({})\n", decision.what, decision.weight, decision.why, decision.who)
    });
    lines.collect()
}

fn keep(file: &Path, text: &str) {
    // What can't be kept must not hide why the scenario failed.
    std::fs::write(file, text).ok();
}
