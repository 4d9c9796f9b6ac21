//! Gates: from a question to the body of a request, from an answer to a word.

use penstock_core::gate::{GateQuestion, GateWord};
use penstock_core::time::Time;
use serde::Deserialize;
use serde_json::json;

use crate::RolloutName;

/// Longest answer that is read of a gate, in bytes.
pub const MAX_ANSWER: usize = 64 << 10;
/// Longest reason that is kept, in characters.
const LONGEST: usize = 300;

/// The id of a question: another one each time that it is asked.
pub fn id(rollout: &RolloutName, question: &GateQuestion, now: Time) -> String {
    let RolloutName { namespace, name } = rollout;
    let asked = &question.asked;
    format!("gate_{namespace}_{name}_{}_{}_{}_{}", asked.revision, asked.release, asked.step, now.0)
}

/// The body of a question, JSON. `who`: the name of the controller that asks.
pub fn request(rollout: &RolloutName, question: &GateQuestion, who: &str) -> Vec<u8> {
    let GateQuestion { asked, stable, steps, weight, next, since } = question;
    let body = json!({
        "kind": "gate",
        "namespace": rollout.namespace,
        "rollout": rollout.name,
        "revision": asked.revision,
        "stableRevision": stable,
        "release": asked.release,
        "step": asked.step + 1,
        "steps": steps,
        "weight": weight,
        "nextWeight": next,
        "waitingSinceMs": since.0,
        "who": who,
    });
    body.to_string().into_bytes()
}

/// What a gate says.
#[derive(Debug, Deserialize)]
struct Reply {
    answer: String,
    #[serde(default)]
    reason: String,
}

/// The word of an answer. Whatever does not say plainly go, no-go or wait is [`GateWord::Unknown`]; of an answer that is
/// not understood nothing is repeated.
pub fn parse(status: u16, body: &[u8]) -> GateWord {
    if status != 200 {
        return GateWord::Unknown(format!("it answers HTTP {status}; expected is 200 with a JSON answer"));
    }
    let Ok(reply) = serde_json::from_slice::<Reply>(body) else {
        let expected = r#"expected is {"answer": "go", "reason": "…"}"#;
        return GateWord::Unknown(format!("its answer is no JSON with an answer in it; {expected}"));
    };
    let reason = plain(&reply.reason);
    match reply.answer.as_str() {
        "go" => GateWord::Go(reason),
        "no-go" => GateWord::NoGo(reason),
        "wait" => GateWord::Wait(reason),
        _ => GateWord::Unknown("its answer is neither go nor no-go nor wait".to_owned()),
    }
}

/// A reason as one line that is not too long.
fn plain(reason: &str) -> String {
    let line: String = reason.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST).collect();
    let line = line.trim();
    if line.is_empty() { "no reason was given".to_owned() } else { line.to_owned() }
}

#[cfg(test)]
mod tests {
    use penstock_core::gate::GateName;
    use penstock_core::revision::Revision;
    use penstock_core::split::{Generation, Weight};

    use super::*;

    fn question() -> GateQuestion {
        GateQuestion {
            asked: GateName { revision: Revision::new("v2").unwrap(), release: Generation(7), step: 2 },
            stable: Revision::new("v1").unwrap(),
            steps: 5,
            weight: Weight::new(10).unwrap(),
            next: Weight::new(25).unwrap(),
            since: Time(1_000),
        }
    }

    #[test]
    fn a_question_says_what_is_decided_about() {
        let rollout = RolloutName { namespace: "shop".into(), name: "checkout".into() };
        let body = String::from_utf8(request(&rollout, &question(), "penstock-0")).unwrap();
        insta::assert_snapshot!(body, @r#"{"kind":"gate","namespace":"shop","nextWeight":25,"release":7,"revision":"v2","rollout":"checkout","stableRevision":"v1","step":3,"steps":5,"waitingSinceMs":1000,"weight":10,"who":"penstock-0"}"#);
        assert_eq!(id(&rollout, &question(), Time(9)), "gate_shop_checkout_v2_7_2_9");
    }

    #[test]
    fn three_words_are_understood_and_all_else_is_not_known() {
        let go = parse(200, br#"{"answer": "go", "reason": "all\ngreen", "more": 1}"#);
        assert_eq!(go, GateWord::Go("all green".into()));
        assert_eq!(parse(200, br#"{"answer": "no-go"}"#), GateWord::NoGo("no reason was given".into()));
        assert!(matches!(parse(200, br#"{"answer": "wait", "reason": "x"}"#), GateWord::Wait(_)));
        for (status, body) in [
            (200, &br#"{"answer": "Go"}"#[..]),
            (200, br#"{"answer": true}"#),
            (200, br#""go""#),
            (200, b"go"),
            (200, b""),
            (200, b"\xff\xfe"),
            (200, br#"{"answer": "go"} {"answer": "no-go"}"#),
            (200, br#"{"answer": "wait", "answer": "go"}"#),
            (204, b""),
            (302, br#"{"answer": "go"}"#),
            (500, br#"{"answer": "go"}"#),
        ] {
            let word = parse(status, body);
            assert!(matches!(word, GateWord::Unknown(_)), "{status} {body:?}: {word:?}");
        }
        let long = format!(r#"{{"answer": "go", "reason": "{}"}}"#, "ä".repeat(9_999));
        assert!(matches!(parse(200, long.as_bytes()), GateWord::Go(reason) if reason.chars().count() == 300));
    }
}
