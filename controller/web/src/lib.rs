//! The on-call page: all releases with what needs a person on top, one release as it goes on, and orders.
//!
//! `serve` takes connections, a bounded number of them. `guard` is what every request passes: where it came from, how
//! many there were, who sends it. `assets` is the page itself, `events` what keeps it live, `orders` what people want,
//! `answer` the JSON that it reads: pure, from a Rollout to words. Whatever is decided here is decided in Rust; the
//! script draws. *Never*: a call to an API server or a file of its own (that is the view's), a decision about a release.

mod answer;
mod assets;
mod board;
mod events;
mod guard;
mod limits;
mod orders;
mod people;
mod routes;
mod serve;
mod trouble;

pub use guard::Hosts;
pub use serve::{Page, serve};
