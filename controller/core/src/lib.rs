//! The rollout machine. It decides, and does nothing else.
//!
//! [`questions`] says what to measure, [`step`] decides on what was observed. Both are pure: time is an
//! argument, the next wake-up is a result. This crate never waits, never reads a clock, never draws a random
//! number, never does I/O, and knows no other crate of the house.
//!
//! The promise, tested by simulation: *any list of actions is safe if applied wholly, partly, twice, late, or
//! by a deposed leader.* It rests on four rules:
//!
//! 1. a weight rises only onto enough ready pods;
//! 2. a revision shrinks away only when every proxy confirms the very split that was saved, and has nothing in
//!    flight to it;
//! 3. every split has a generation, and receivers refuse older ones;
//! 4. unknown, old or half a measurement never counts as good.

pub mod decision;
pub mod gate;
pub mod observation;
pub mod revision;
pub mod sample;
pub mod split;
pub mod state;
pub mod strategy;
pub mod time;
pub mod verdict;

mod advance;
#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod simulator;

pub use advance::{Next, findings, gate_question, questions, refusal, step};
