//! The annotations by which an order is given, from wherever it comes.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use penstock_core::observation::OrderKind;
use penstock_core::revision::Revision;
use serde_json::{Value, json};

use super::{LONGEST_REASON, line};

/// The annotation that gives an order.
pub fn annotation(kind: &OrderKind) -> &'static str {
    match kind {
        OrderKind::Abort => "penstock.dev/abort",
        OrderKind::Promote => "penstock.dev/promote",
        OrderKind::PromoteFull => "penstock.dev/promote-full",
        OrderKind::Pause => "penstock.dev/pause",
        OrderKind::Resume => "penstock.dev/resume",
        OrderKind::Retry => "penstock.dev/retry",
        OrderKind::Undo(_) => "penstock.dev/undo",
    }
}

/// The annotation that says who gives the order of an annotation.
pub fn annotation_of_who(annotation: &str) -> String {
    format!("{annotation}-by")
}

/// The merge patch that gives an order. It holds on the version that was read only, so that two people don't overwrite
/// each other's orders unseen; `anyhow`: whoever has written in between.
pub fn give(metadata: &ObjectMeta, kind: &OrderKind, who: &str, reason: &str, anyhow: bool) -> Value {
    let order = annotation(kind);
    let annotations =
        BTreeMap::from([(annotation_of_who(order), who.to_owned()), (order.to_owned(), value(kind, reason))]);
    let mut changes = json!({"annotations": annotations});
    if !anyhow {
        changes["resourceVersion"] = json!(metadata.resource_version);
    }
    json!({"metadata": changes})
}

/// Who has given the same order and why, where it waits already: `by ada (p99 looks wrong)`.
pub fn given(metadata: &ObjectMeta, kind: &OrderKind) -> Option<String> {
    let noted = |name: &str| metadata.annotations.as_ref()?.get(name).map(|text| line(text, LONGEST_REASON));
    let why = noted(annotation(kind))?;
    let by = noted(&annotation_of_who(annotation(kind))).map(|who| format!(" by {who}")).unwrap_or_default();
    let why = if why.is_empty() { why } else { format!(" ({why})") };
    Some(format!("{by}{why}").trim().to_owned())
}

/// What the annotation says: the reason; for an undo the revision, and the reason behind a colon.
fn value(kind: &OrderKind, reason: &str) -> String {
    match kind {
        OrderKind::Undo(to) => {
            let name = to.as_ref().map_or("", Revision::as_str);
            if reason.is_empty() { name.to_owned() } else { format!("{name}: {reason}") }
        }
        OrderKind::Abort
        | OrderKind::Promote
        | OrderKind::PromoteFull
        | OrderKind::Pause
        | OrderKind::Resume
        | OrderKind::Retry => reason.to_owned(),
    }
}
