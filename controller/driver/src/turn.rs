//! The turn: ask, look, step, save, act, tell.

use std::time::Duration;

use penstock_core::decision::Action;
use penstock_core::split::Split;
use penstock_core::state::State;
use penstock_core::strategy::Strategy;
use penstock_core::time::Time;
use penstock_core::{gate_question, questions, step};

use crate::ports::{Record, SaveError, World};

/// What failed is tried again after this.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// How a turn ended.
#[derive(Debug, Default)]
pub struct Turned {
    /// When to take the next one, if nothing happens before.
    pub wake_at: Option<Time>,
    /// What could not be done, in words.
    pub troubles: Vec<String>,
    /// Somebody else saved: the state is to be read again.
    pub outdated: bool,
}

/// What a controller knows of a Rollout between two turns.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// What was decided last.
    pub state: State,
    /// The split that was saved last.
    saved: Split,
}

impl Memory {
    /// Begins with what was read.
    pub fn new(state: State) -> Memory {
        Memory { saved: state.split.clone(), state }
    }
}

/// Takes a turn.
///
/// A state that can't be saved is kept in memory, and nothing is acted upon but a split that gives no revision but
/// the stable one more than it has: an abort waits for no disk.
pub async fn turn<W: World>(world: &mut W, strategy: &Strategy, memory: &mut Memory, now: Time) -> Turned {
    let Memory { state, saved } = memory;
    world.ask(questions(strategy, state, now));
    if let Some(question) = gate_question(strategy, state, now) {
        world.ask_gate(question);
    }
    let seen = world.look().await;
    let next = step(strategy, state, &seen, now);
    *state = next.state;
    let kept = world.save(Record { strategy, state, seen: &seen, now }).await;
    let mut turned = Turned { wake_at: next.wake_at, ..Turned::default() };
    let actions = match kept {
        Ok(()) => {
            saved.clone_from(&state.split);
            next.actions
        }
        Err(SaveError::Conflict { .. }) => {
            return Turned { wake_at: Some(now), outdated: true, ..turned };
        }
        Err(error @ SaveError::Refused { .. }) => {
            turned.troubles.push(error.to_string());
            next.actions.into_iter().filter(|a| lowers(a, saved, state)).collect()
        }
    };
    for action in &actions {
        if let Err(error) = world.act(action).await {
            turned.troubles.push(error.to_string());
        }
    }
    next.decisions.iter().for_each(|decision| world.tell(decision));
    if !turned.troubles.is_empty() {
        let again = now + TRY_AGAIN;
        turned.wake_at = Some(turned.wake_at.map_or(again, |at| at.min(again)));
    }
    turned
}

/// Whether an action only takes traffic from revisions that are not stable.
fn lowers(action: &Action, before: &Split, state: &State) -> bool {
    let Action::Route(split) = action else { return false };
    let no_more = |revision: &&penstock_core::revision::Revision| {
        state.stable.as_ref() == Some(*revision) || split.weight(revision) <= before.weight(revision)
    };
    let marked = split.marked.is_none() || split.marked == before.marked;
    marked && split.weights.keys().all(|r| no_more(&r))
}
