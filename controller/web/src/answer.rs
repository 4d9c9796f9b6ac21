//! The JSON that the page reads, version 1: from a Rollout to words. Pure: the present is an argument.
//!
//! docs/page.md tells its fields. New ones may come; those that are there stay what they are.

mod list;
mod offer;
mod one;

pub(crate) use list::{Listing, Summary, listing, namespaces, summary};
pub(crate) use one::{Seen, one};

use penstock_crds::RolloutStatus;
use serde_json::Value;

/// The status of a Rollout, whatever else of it can't be understood.
fn status(object: &Value) -> RolloutStatus {
    let status = object.get("status").cloned().unwrap_or_default();
    serde_json::from_value(status).unwrap_or_default()
}
