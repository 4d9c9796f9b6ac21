//! What the world looks like at the beginning of a turn. What is not known says so.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::gate::GateAnswer;
use crate::revision::Revision;
use crate::sample::Answer;
use crate::split::{Generation, Split};
use crate::time::Time;

/// One look at the world.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observation {
    /// Every revision that exists. `None`: could not be seen.
    pub revisions: Option<BTreeMap<Revision, Pods>>,
    /// The split as it stands in the router's object.
    pub route: Route,
    /// Every proxy that serves this Rollout, with its report or without. `None`: not known which there are.
    pub proxies: Option<BTreeMap<String, Option<Report>>>,
    /// Answers that came since the last turn.
    pub answers: Vec<Answer>,
    /// What the gate has said since the last turn.
    pub gate: Option<GateAnswer>,
    /// The freeze that holds at present.
    pub frozen: Option<Frozen>,
    /// Orders of people that wait, oldest first.
    pub orders: Vec<Order>,
}

/// A time in which nothing is promoted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frozen {
    /// When it ends. `None`: it does not.
    pub until: Option<Time>,
    /// Until when and why, in words.
    pub why: String,
}

/// What stands in the router's object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Route {
    /// It could not be seen.
    #[default]
    Unknown,
    /// There is none.
    Absent,
    /// This split.
    Found(Split),
}

/// The pods of one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pods {
    /// How many are asked for.
    pub scale: u32,
    /// The generation that this was asked for with.
    pub generation: Generation,
    /// How many are ready.
    pub ready: u32,
    /// How many exist, those that are going away included.
    pub present: u32,
    /// Restarts of the pods that exist.
    pub restarts: u32,
    /// When the revision was made; orders the history.
    pub created: Time,
    /// What the pods wait for or die of, in words, when they are not all ready.
    pub trouble: Option<String>,
}

/// What one proxy says of one Rollout.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The split that it applies.
    pub split: Split,
    /// Requests in flight by revision; a revision that is not listed has none.
    pub in_flight: BTreeMap<Revision, u64>,
}

/// An order of a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// Tells this order from every other one of the same Rollout.
    pub id: String,
    /// What to do.
    pub kind: OrderKind,
    /// Who ordered it.
    pub who: String,
    /// Why, in the person's words; may be empty.
    #[serde(default)]
    pub reason: String,
    /// When it was given.
    pub at: Time,
}

/// What a person can order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OrderKind {
    /// All traffic back to stable, at once.
    Abort,
    /// On to the next step without waiting for the rest of this one.
    Promote,
    /// All steps at once: to 100 % as soon as the pods are there, whatever the measurements say.
    PromoteFull,
    /// Stay where it is until `Resume`.
    Pause,
    /// Ends `Pause`.
    Resume,
    /// Try the aborted revision again, from step 0.
    Retry,
    /// Release a kept revision instead of the template's; `None`: the one before.
    Undo(Option<Revision>),
}
