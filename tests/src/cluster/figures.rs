//! What a scenario has measured, in the words of its line.

use std::time::Duration;

use anyhow::{Result, bail};

/// Sentences for the line of a scenario.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    said: Vec<String>,
}

/// So many times the goal is not slow any more: something waits for what
/// never comes.
const BROKEN: u32 = 10;

impl Figures {
    /// None yet.
    pub fn new() -> Figures {
        Figures::default()
    }

    /// One more.
    pub fn say(&mut self, words: impl Into<String>) {
        self.said.push(words.into());
    }

    /// A time beside its goal. Errors: it is ten times as long. A goal that is missed by less is shown: how
    /// fast a machine is on which other things run is nobody's fault.
    pub fn goal(&mut self, what: &str, measured: Duration, goal: Duration) -> Result<()> {
        let mark = if measured <= goal { "held" } else { "MISSED" };
        self.say(format!("{what} {} (goal {}: {mark})", seconds(measured), seconds(goal)));
        if measured > goal * BROKEN {
            bail!("{what} took {}, the goal is {}", seconds(measured), seconds(goal));
        }
        Ok(())
    }

    /// All of it in a line.
    pub fn line(&self) -> String {
        self.said.join("; ")
    }
}

/// `1.24 s`.
pub fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}
