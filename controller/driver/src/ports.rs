//! What a turn needs of the world. One implementation per kind of world: folder or cluster.

use std::future::Future;

use penstock_core::decision::{Action, Decision};
use penstock_core::gate::GateQuestion;
use penstock_core::observation::Observation;
use penstock_core::sample::Question;
use penstock_core::state::State;
use penstock_core::strategy::Strategy;
use penstock_core::time::Time;

/// Why a state was not saved.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// Somebody else has saved since this state was read; theirs holds.
    #[error("somebody else has changed {what} since it was read; it is read again")]
    Conflict {
        /// Which object.
        what: String,
    },
    /// The store refuses.
    #[error("the state of {what} can't be saved: {why}")]
    Refused {
        /// Which object.
        what: String,
        /// Why, and what to do.
        why: String,
    },
}

/// Something that could not be brought about. It is tried again in the next turn.
#[derive(Debug, thiserror::Error)]
#[error("{operation}: {why}")]
pub struct ActError {
    /// What was tried, with the object's name.
    pub operation: String,
    /// Why it failed, and what to do.
    pub why: String,
}

/// What there is to save: the state, and what people are told of it.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// What is wanted.
    pub strategy: &'a Strategy,
    /// What to remember.
    pub state: &'a State,
    /// What was seen.
    pub seen: &'a Observation,
    /// The present.
    pub now: Time,
}

/// The world of one Rollout.
pub trait World {
    /// Sends questions on their way, unless the last ones still are. Returns at once: no source, however slow,
    /// delays a turn. Their answers are in a later look.
    fn ask(&mut self, questions: Vec<Question>);

    /// Has a gate asked, unless it is being asked. Returns at once; the answer is in a later look.
    fn ask_gate(&mut self, question: GateQuestion);

    /// Looks at everything, within a bounded time. What can't be seen says so.
    fn look(&mut self) -> impl Future<Output = Observation> + Send;

    /// Saves, on the condition that nobody else has since the state was read. Saving what is saved costs nothing.
    fn save(&mut self, record: Record<'_>) -> impl Future<Output = Result<(), SaveError>> + Send;

    /// Brings a target state about.
    fn act(&mut self, action: &Action) -> impl Future<Output = Result<(), ActError>> + Send;

    /// Tells of a decision.
    fn tell(&mut self, decision: &Decision);
}
