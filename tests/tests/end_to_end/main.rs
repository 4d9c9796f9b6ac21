//! Whole releases with real processes, a real Prometheus and clients that count. One program, since most of them wait
//! most of the time, and can do that together.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test tells, and ends where its world is not as it should be"
)]

mod conformance;
mod docs;
mod gates;
mod local_input;
mod local_kill;
mod local_looks;
mod local_orders;
mod local_release;
mod local_stop;
mod notifications;
mod page_guard;
mod prometheus_answers;
mod proxy_counts;
mod rollouts;
