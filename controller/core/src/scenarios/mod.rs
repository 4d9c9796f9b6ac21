//! What people expect of a release, one scenario each.

mod gates;
mod judging;
mod orders;
mod pods;
mod stage;
mod steps;
