//! What a Rollout says of itself, in words for people: the same on a terminal, on the page and in a message.

use penstock_core::state::spoken;
use penstock_core::strategy::Step;

use crate::status::{DecisionRecord, Phase, RolloutStatus};

/// On one line, and without what could steer a terminal: it may come from a pod's last words.
pub fn clean(text: &str) -> String {
    text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A decision as a sentence: who did what, and why.
pub fn sentence(decision: &DecisionRecord) -> String {
    let who = clean(&decision.who);
    let revision = decision.revision.as_deref().map_or("it".to_owned(), clean);
    let at = decision.weight.map(|weight| format!(" at {weight} %")).unwrap_or_default();
    let to = decision.weight.map(|weight| format!(" to {weight} %")).unwrap_or_default();
    let what = match decision.what.as_str() {
        "Deployed" => format!("gave all traffic to {revision}"),
        "Started" => format!("began the release of {revision}"),
        "Advanced" => format!("raised {revision}{to}"),
        "Passed" => format!("passed a step of {revision}{at}"),
        "Held" => format!("holds {revision}{at}"),
        "Gated" => format!("holds {revision}{at} at a gate"),
        "Frozen" => format!("holds {revision}{at} in a freeze"),
        "Paused" => format!("paused {revision}{at}"),
        "Resumed" => format!("resumed {revision}{at}"),
        "Aborted" => format!("aborted {revision}"),
        "Superseded" => format!("gave up {revision} for a newer one"),
        "Reverted" => format!("ended the release of {revision}"),
        "Completed" => format!("made {revision} the stable revision"),
        "Retried" => format!("tries {revision} again"),
        "Undone" => format!("goes back to {revision}"),
        "Promoted" => format!("moved {revision} on"),
        "Refused" => "could not follow an order".to_owned(),
        "Repaired" => "put the split right".to_owned(),
        "Drained" => format!("takes the pods of {revision} away"),
        other => format!("{} {revision}", clean(&other.to_lowercase())),
    };
    format!("{who} {what}: {}", clean(&decision.why))
}

/// What a step does: `to 25 %`, `pause of 5m`.
pub fn step(step: &Step) -> String {
    match step {
        Step::SetWeight(weight) => format!("to {weight}"),
        Step::Pause(Some(duration)) => format!("pause of {}", spoken(*duration)),
        Step::Pause(None) => "pause until a person promotes".to_owned(),
        Step::SetCanaryScale(scale) => scale.to_string(),
        Step::Gate(_) => "gate".to_owned(),
    }
}

/// How much a Rollout wants of a person, the most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// It gets no further until a person does something.
    Person,
    /// It stands still, and may go on by itself: worth a look.
    Look,
    /// Something is under way, as it should be.
    UnderWay,
    /// Nothing is to be done.
    Rest,
}

/// What holds a release that is paused by no person: `Gated` or `Frozen`.
pub fn held_by(status: &RolloutStatus) -> Option<&'static str> {
    let holds = |word: &&str| status.conditions.iter().any(|c| c.type_ == "Reconciling" && c.reason == *word);
    ["Gated", "Frozen"].into_iter().find(holds).filter(|_| status.phase == Phase::Paused)
}

impl Urgency {
    /// What a Rollout wants, by its status.
    pub fn of(status: &RolloutStatus) -> Urgency {
        match status.phase {
            // A gate or a freeze goes by itself.
            Phase::Paused if held_by(status).is_some() => Urgency::Look,
            Phase::Aborted | Phase::Stalled | Phase::Invalid | Phase::Paused => Urgency::Person,
            Phase::Held | Phase::Unknown => Urgency::Look,
            Phase::Pending | Phase::Deploying | Phase::Progressing => Urgency::UnderWay,
            Phase::Stable => Urgency::Rest,
        }
    }

    /// In a word for machines.
    pub fn as_str(self) -> &'static str {
        match self {
            Urgency::Person => "person",
            Urgency::Look => "look",
            Urgency::UnderWay => "under-way",
            Urgency::Rest => "rest",
        }
    }
}

#[cfg(test)]
mod tests {
    use penstock_core::decision::{Decision, What};
    use penstock_core::revision::Revision;
    use penstock_core::split::Weight;
    use penstock_core::time::Time;

    use super::*;

    #[test]
    fn last_words_of_a_pod_do_not_steer_the_terminal() {
        assert_eq!(clean("oh\x1b[2J no\r\nbye\u{9b}1m"), "oh [2J no  bye 1m");
    }

    #[test]
    fn every_kind_of_decision_has_a_sentence() {
        let told = What::ALL.map(|what| {
            let decision = Decision {
                number: 1,
                at: Time(0),
                what,
                why: "because\nof it".to_owned(),
                who: "penstock".to_owned(),
                revision: Revision::new("bb").ok(),
                weight: Weight::new(25).ok(),
                order: None,
            };
            sentence(&DecisionRecord::from(&decision))
        });
        insta::assert_snapshot!(told.join("\n"));
    }
}
