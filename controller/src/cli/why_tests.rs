use penstock_core::decision::{Decision, What};
use penstock_core::revision::Revision;
use penstock_core::split::Weight;

use super::*;

#[test]
fn every_kind_of_decision_has_a_sentence() {
    let all = [
        What::Deployed,
        What::Started,
        What::Advanced,
        What::Passed,
        What::Held,
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
    let told = all.map(|what| {
        let decision = Decision {
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
