//! The API types of Penstock: what a person writes, what the controller answers, and the way from there to the
//! rollout machine's own types.
//!
//! [`admit`] and [`admit_value`] are the only place of defaults and refusals: behind them everything is known
//! to be well. This crate never does I/O, and never decides anything about a release.

mod admit;
mod document;
mod facts;
mod freeze;
mod reference;
mod refusal;
mod report;
mod revision;
mod rollout;
mod schema;
mod shape;
mod status;
mod text;
pub mod words;

pub use admit::{Admitted, admit, admit_value, clashes, inspect, is_label};
pub use document::{Document, MAX_BYTES, Place, ReadError, read};
pub use facts::{
    Address, Auth, Ca, Facts, HeaderMatch, KeyRef, Prometheus, Receiver, ReceiverKind, Service, Source,
    Sticky, Webhook,
};
pub use freeze::{Freeze, frozen};
pub use reference::reference;
pub use refusal::Refusal;
pub use report::{Account, Trouble, barred, refused, report};
pub use revision::revision_of;
pub use rollout::*;
pub use schema::crd;
pub use status::*;
pub use text::{DurationText, NumberText, PercentText, QuantileText};

/// The API group of all kinds of Penstock.
pub const GROUP: &str = "penstock.dev";
/// The `apiVersion` of a Rollout.
pub const API_VERSION: &str = "penstock.dev/v1alpha1";
/// The `kind` of a Rollout.
pub const KIND: &str = "Rollout";
