//! Gates: an outside word that a release waits for.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::revision::Revision;
use crate::split::{Generation, Weight};
use crate::time::Time;

/// What the machine wants to hear of a gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateQuestion {
    /// Which gate; the answer carries it back.
    pub asked: GateName,
    /// The revision that the canary would replace.
    pub stable: Revision,
    /// How many steps the release has.
    pub steps: usize,
    /// Share of the traffic that the canary has.
    pub weight: Weight,
    /// Share of the traffic that the next steps lead to.
    pub next: Weight,
    /// Since when the release stands at this gate.
    pub since: Time,
}

/// One gate of one release.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GateName {
    /// The canary.
    pub revision: Revision,
    /// The split that its release began with: tells it from an earlier release of the same revision.
    pub release: Generation,
    /// Index of the step that is the gate.
    pub step: usize,
}

/// What came back of a gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateAnswer {
    /// Which gate.
    pub asked: GateName,
    /// Who was asked, in words for a person.
    pub gate: String,
    /// What it said.
    pub word: GateWord,
}

/// What a gate says, each with the reason in its words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GateWord {
    /// The release may go on.
    Go(String),
    /// The release is to be aborted.
    NoGo(String),
    /// Not yet: it is asked again.
    Wait(String),
    /// There is no answer that can be understood: the release holds.
    Unknown(String),
}

/// What is remembered of the gate that a release stands at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Asked {
    /// Who was asked, in words for a person.
    pub gate: String,
    /// When the last answer came.
    pub at: Time,
    /// The last answer.
    pub word: GateWord,
    /// For how long it has said wait, without the times when nothing could be heard.
    pub waited: Duration,
}

impl Asked {
    /// What is remembered after one more answer.
    pub(crate) fn then(before: Option<Asked>, answer: &GateAnswer, now: Time) -> Asked {
        let waited = match (before, &answer.word) {
            (Some(Asked { word: GateWord::Wait(_), at, waited, .. }), GateWord::Wait(_)) => {
                waited.saturating_add(now.since(at))
            }
            (Some(before), _) => before.waited,
            (None, _) => Duration::ZERO,
        };
        Asked { gate: answer.gate.clone(), at: now, word: answer.word.clone(), waited }
    }
}
