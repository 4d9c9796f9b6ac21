//! The orders that can be given now, as the rollout machine itself would take them.

use std::collections::BTreeMap;

use penstock_core::observation::{OrderKind, Pods};
use penstock_core::refusal;
use penstock_core::revision::Revision;
use penstock_core::state::State;
use penstock_core::strategy::Strategy;
use penstock_core::time::Time;
use penstock_crds::{Rollout, RolloutStatus, admit, time_of};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An order that a person may want to give.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Offer {
    /// Its word, as in the annotation.
    order: &'static str,
    label: &'static str,
    /// What it does, in a sentence.
    effect: String,
    /// Why it would be refused now; `None`: it would be followed.
    refused: Option<String>,
    /// `danger`: it takes something away at once; `main`: what most people want next.
    tone: &'static str,
    /// Whether the page asks for a reason before it is given.
    confirm: bool,
}

/// All orders, in the order in which they are shown.
pub(super) fn offers(object: &Value, status: &RolloutStatus, now: Time) -> Vec<Offer> {
    let machine = status.machine.clone().unwrap_or_default();
    let state: State = serde_json::from_value(machine).unwrap_or_default();
    let kept = status.revisions.iter().filter_map(|revision| {
        let pods = Pods {
            scale: u32::try_from(revision.scale).unwrap_or(0),
            ready: u32::try_from(revision.ready).unwrap_or(0),
            created: revision.created.as_ref().map(time_of).unwrap_or_default(),
            ..Pods::default()
        };
        Some((Revision::new(revision.name.clone()).ok()?, pods))
    });
    let kept: BTreeMap<Revision, Pods> = kept.collect();
    let strategy = strategy(object, status);
    let stable = status.stable_revision.as_deref().unwrap_or("the stable revision");
    let canary = status.canary_revision.as_deref().unwrap_or("the release");
    let back = match &state.release {
        Some(_) => format!("Ends the release of {canary}; all traffic goes back to {stable}."),
        None => {
            let before = state.history.first().map_or("the revision before", Revision::as_str);
            format!("Releases {before} again, by the same steps.")
        }
    };
    let all = [
        (
            OrderKind::Abort,
            "Abort",
            format!(
                "All traffic goes back to {stable} at once; {canary} is not tried again until somebody says so."
            ),
            "danger",
            true,
        ),
        (
            OrderKind::Promote,
            "Promote",
            format!("Ends the present step of {canary}, and goes on to the next one."),
            "main",
            false,
        ),
        (
            OrderKind::PromoteFull,
            "Promote fully",
            format!(
                "{canary} gets all traffic as soon as its pods are there, whatever the measurements say."
            ),
            "plain",
            true,
        ),
        (
            OrderKind::Pause,
            "Pause",
            format!("{canary} stays at its share until somebody resumes; it is still judged."),
            "plain",
            false,
        ),
        (OrderKind::Resume, "Resume", format!("{canary} goes on by its steps."), "main", false),
        (
            OrderKind::Retry,
            "Retry",
            "The aborted revision is tried again, from its first step.".to_owned(),
            "plain",
            true,
        ),
        (OrderKind::Undo(None), "Undo", back, "plain", true),
    ];
    let refused = |kind: OrderKind| match &strategy {
        Some(strategy) => refusal(strategy, &state, &kept, kind, now).map(|why| reason(&why)),
        None => Some("the spec is refused, and no earlier one is worked on".to_owned()),
    };
    let offer = |(kind, label, effect, tone, confirm): (OrderKind, _, _, _, _)| Offer {
        order: word(&kind),
        label,
        effect,
        refused: refused(kind),
        tone,
        confirm,
    };
    all.into_iter().map(offer).collect()
}

/// The spec that is worked on.
pub(super) fn strategy(object: &Value, status: &RolloutStatus) -> Option<Strategy> {
    let admitted = |object: &Value| Some(admit(&Rollout::deserialize(object).ok()?).ok()?.strategy);
    admitted(object).or_else(|| {
        let mut before = object.clone();
        *before.get_mut("spec")? = status.worked_on.clone()?;
        admitted(&before)
    })
}

/// Without the order's own name: it stands on the button.
fn reason(why: &str) -> String {
    why.split_once(" refused: ").map_or(why, |(_, reason)| reason).to_owned()
}

fn word(kind: &OrderKind) -> &'static str {
    match kind {
        OrderKind::Abort => "abort",
        OrderKind::Promote => "promote",
        OrderKind::PromoteFull => "promote-full",
        OrderKind::Pause => "pause",
        OrderKind::Resume => "resume",
        OrderKind::Retry => "retry",
        OrderKind::Undo(_) => "undo",
    }
}
