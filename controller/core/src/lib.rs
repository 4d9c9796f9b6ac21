//! The rollout machine. It decides, and does nothing else.
//!
//! [`questions`] says what to measure, [`step`] decides on what was observed. Both are pure: time is an
//! argument, the next wake-up is a result. This crate never waits, never reads a clock, never draws a random
//! number, never does I/O, and knows no other crate of the house.
//!
//! The promise, tested by simulation: *any list of actions is safe if applied wholly, partly, twice, late, or
//! by a deposed leader.*

pub mod decision;
pub mod observation;
pub mod revision;
pub mod sample;
pub mod split;
pub mod strategy;
pub mod time;
