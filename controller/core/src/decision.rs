//! What was decided, and why.

use serde::{Deserialize, Serialize};

use crate::revision::Revision;
use crate::split::{Generation, Split, Weight};
use crate::time::Time;

/// A target state to bring about. Never a delta: doing it twice is doing it once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// This revision has so many pods; made first where it does not exist.
    Scale {
        /// Whose pods.
        revision: Revision,
        /// How many.
        replicas: u32,
        /// The split that this was decided with. A revision that has heard of a later one refuses this.
        generation: Generation,
    },
    /// The traffic is divided like this.
    Route(Split),
    /// This revision and all that belongs to it is gone.
    Delete {
        /// Which one.
        revision: Revision,
        /// The split that this was decided with. A revision that has heard of a later one refuses this.
        generation: Generation,
    },
    /// This order, handled and recorded, is taken away.
    Clear(String),
}

/// One line of the story of a Rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// Counts the decisions of one Rollout, from 1 on; 0 for those of a version that did not count.
    #[serde(default)]
    pub number: u64,
    /// When.
    pub at: Time,
    /// What.
    pub what: What,
    /// Why, as a sentence with the numbers behind it.
    pub why: String,
    /// Who: a person's name, or `penstock`.
    pub who: String,
    /// The revision it is about.
    pub revision: Option<Revision>,
    /// Share of the traffic that the revision has after it.
    pub weight: Option<Weight>,
    /// The order that it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
}

/// Kinds of decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// The first revision gets all traffic.
    Deployed,
    /// A release began.
    Started,
    /// The canary's share rose.
    Advanced,
    /// A step was passed that changes no weight: the canary has the pods that it asks for, a gate has said go.
    Passed,
    /// The release waits; said once per reason.
    Held,
    /// The release waits for a gate.
    Gated,
    /// Nothing is promoted for a time.
    Frozen,
    /// The release stands still by order.
    Paused,
    /// It goes on.
    Resumed,
    /// All traffic went back to stable; the revision is refused until retry or a new template.
    Aborted,
    /// A newer template took the release's place.
    Superseded,
    /// The template went back to stable.
    Reverted,
    /// The canary is stable.
    Completed,
    /// An aborted revision is tried again.
    Retried,
    /// An older revision is wanted by order.
    Undone,
    /// A person's order moved the release on.
    Promoted,
    /// An order could not be followed.
    Refused,
    /// The router's object was not as saved and is put right.
    Repaired,
    /// Pods of an old revision are taken away.
    Drained,
}

impl What {
    /// Every kind.
    pub const ALL: [What; 19] = [
        What::Deployed,
        What::Started,
        What::Advanced,
        What::Passed,
        What::Held,
        What::Gated,
        What::Frozen,
        What::Paused,
        What::Resumed,
        What::Aborted,
        What::Superseded,
        What::Reverted,
        What::Completed,
        What::Retried,
        What::Undone,
        What::Promoted,
        What::Refused,
        What::Repaired,
        What::Drained,
    ];
}
