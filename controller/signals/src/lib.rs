//! What is said to others, and what they say: turns questions to metric sources and gates into requests and answers
//! into samples and words, and decisions into notices, one file for each.
//!
//! This crate never does I/O and never reads a clock. What a source did not say plainly is [`NoData`], with a
//! reason for a person; nothing is guessed. Half an answer names the proxies that are missing in it.
//!
//! [`NoData`]: penstock_core::sample::NoData

mod counts;
pub mod gate;
pub mod notice;
pub mod prometheus;
pub mod proxy;
pub mod signature;

use std::fmt;

/// Longest answer that is read of a source, in bytes: enough for some 500 proxies.
pub const MAX_ANSWER: usize = 16 << 20;

/// Which Rollout is asked about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RolloutName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for RolloutName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
