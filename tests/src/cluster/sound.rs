//! What holds for every release, whatever became of controllers meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};

use super::journal::Seen;
use super::splits::Splits;
use super::windows::shares;
use crate::traffic::Record;

/// What was checked, of one Rollout or several.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sound {
    /// Requests, none of which failed.
    pub requests: usize,
    /// Splits, each of which had a number of its own.
    pub splits: usize,
    /// How often what a client saw was compared with what the status said.
    pub shares: usize,
    /// By how many requests it was off at most.
    pub worst: f64,
}

impl Sound {
    /// Checks one Rollout more: no request failed, no split went back to an earlier one, clients saw the shares that
    /// were told, and each of the orders `given` was answered once.
    pub fn add(
        &mut self,
        rollout: &str,
        (told, splits, record): (&[Seen], &Splits, &Record),
        given: usize,
    ) -> Result<()> {
        ensure!(record.failed() == 0, "{}\n{}", record.summary(), record.failures());
        self.splits += splits.check(rollout, told)?;
        let answers = answers(told);
        ensure!(answers.len() == given, "{given} orders were given, and answered: {answers:#?}");
        let twice = answers.values().find(|decisions| decisions.len() > 1);
        ensure!(twice.is_none(), "an order was followed more than once: {twice:#?}");
        let shares = shares(told, record)?;
        self.requests += record.0.len();
        self.shares += shares.len();
        self.worst = shares.into_iter().fold(self.worst, f64::max);
        Ok(())
    }

    /// In words.
    pub fn words(&self) -> String {
        let Sound { requests, splits, shares, worst } = self;
        format!(
            "0 of {requests} failed; {splits} splits, {shares} shares compared, off by {worst:.1} requests at most"
        )
    }
}

/// Decisions that answer an order, by its number.
fn answers(told: &[Seen]) -> BTreeMap<String, BTreeSet<String>> {
    let mut answers: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for decision in told.iter().flat_map(|seen| seen.status().decisions) {
        if let Some(order) = &decision.order {
            answers.entry(order.clone()).or_default().insert(format!("{decision:?}"));
        }
    }
    answers
}

/// Whether orders wait: as they were written, or taken and not handled.
pub fn has_orders(seen: &Seen) -> bool {
    let words = ["abort", "promote", "promote-full", "pause", "resume", "retry", "undo", "orders"];
    let annotations = seen.rollout.as_ref().and_then(|rollout| rollout.metadata.annotations.as_ref());
    words.iter().any(|word| annotations.is_some_and(|all| all.contains_key(&format!("penstock.dev/{word}"))))
}
