//! What became of an order, as the Rollout tells it.

use std::collections::BTreeSet;

use penstock_core::observation::{Order, OrderKind};
use penstock_crds::DecisionRecord;
use penstock_driver::kube::orders::annotation;
use serde_json::Value;

use super::Saved;

/// Annotation of the orders that the controller has taken and not yet handled: a JSON list.
const TAKEN: &str = "penstock.dev/orders";

/// An order that was written, and how to know its answer.
#[derive(Debug)]
pub(super) struct Sent {
    annotation: &'static str,
    kind: OrderKind,
    who: String,
    /// Orders that others had given before.
    earlier: BTreeSet<String>,
    /// The id that the controller gave to ours.
    id: Option<String>,
}

/// What became of it.
#[derive(Debug, PartialEq)]
pub(super) enum Fate {
    /// No controller has taken it.
    Waits,
    /// A controller has taken it.
    Taken,
    /// It was followed or refused.
    Answered(DecisionRecord),
}

impl Sent {
    /// `before`: the Rollout just before the order was written.
    pub(super) fn new(kind: OrderKind, who: &str, before: &Saved) -> Sent {
        let mut earlier: BTreeSet<String> = taken(before).into_iter().map(|order| order.id).collect();
        earlier.extend(before.decisions().iter().filter_map(|decision| decision.order.clone()));
        Sent { annotation: annotation(&kind), kind, who: who.to_owned(), earlier, id: None }
    }

    /// The annotation that it was written as.
    pub(super) fn annotation(&self) -> &'static str {
        self.annotation
    }

    /// Looks at the Rollout again.
    pub(super) fn look(&mut self, now: &Saved) -> Fate {
        if noted(now, self.annotation).is_some() {
            return Fate::Waits;
        }
        if self.id.is_none() {
            self.id = taken(now).into_iter().find(|order| self.is_ours(order)).map(|order| order.id);
        }
        let answer = now.decisions().iter().find(|decision| self.is_answer(decision));
        answer.map_or(Fate::Taken, |decision| Fate::Answered(decision.clone()))
    }

    fn is_ours(&self, order: &Order) -> bool {
        order.kind == self.kind && order.who == self.who && !self.earlier.contains(&order.id)
    }

    /// Where the controller was too quick for us to see the id, the kind and the person say whose answer it is.
    fn is_answer(&self, decision: &DecisionRecord) -> bool {
        let Some(order) = &decision.order else { return false };
        match &self.id {
            Some(id) => order == id,
            None => {
                let fits = [effect(&self.kind), "Refused"].contains(&decision.what.as_str());
                fits && decision.who == self.who && !self.earlier.contains(order)
            }
        }
    }
}

/// The value of an annotation.
pub(super) fn noted<'a>(saved: &'a Saved, name: &str) -> Option<&'a str> {
    saved.rollout.metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

/// The decision that an order leads to, if it is not refused.
fn effect(kind: &OrderKind) -> &'static str {
    match kind {
        OrderKind::Abort => "Aborted",
        OrderKind::Promote | OrderKind::PromoteFull => "Promoted",
        OrderKind::Pause => "Paused",
        OrderKind::Resume => "Resumed",
        OrderKind::Retry => "Retried",
        OrderKind::Undo(_) => "Undone",
    }
}

/// What stands there that is no order is left out.
fn taken(saved: &Saved) -> Vec<Order> {
    let list = noted(saved, TAKEN).and_then(|text| serde_json::from_str::<Vec<Value>>(text).ok());
    list.unwrap_or_default().into_iter().filter_map(|order| serde_json::from_value(order).ok()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rollout(annotations: Value, decisions: Value) -> Saved {
        Saved::new(json!({
            "apiVersion": "penstock.dev/v1alpha1", "kind": "Rollout",
            "metadata": {"name": "checkout", "annotations": annotations},
            "spec": {}, "status": {"decisions": decisions},
        }))
    }

    fn order(id: &str, kind: &str, who: &str) -> Value {
        json!({"id": id, "kind": kind, "who": who, "at": 0})
    }

    fn orders(all: &[Value]) -> Value {
        json!({TAKEN: serde_json::to_string(all).unwrap()})
    }

    fn decision(what: &str, who: &str, order: &str) -> Value {
        json!({"what": what, "why": "", "who": who, "order": order})
    }

    #[test]
    fn an_order_waits_until_it_is_taken_and_then_until_it_is_answered() {
        let mut sent = Sent::new(OrderKind::Abort, "ada", &rollout(json!({}), json!([])));
        assert_eq!(sent.look(&rollout(json!({"penstock.dev/abort": ""}), json!([]))), Fate::Waits);
        let taken = orders(&[order("7", "abort", "ada")]);
        assert_eq!(sent.look(&rollout(taken, json!([decision("Aborted", "penstock", "6")]))), Fate::Taken);
        let answered = rollout(json!({}), json!([decision("Refused", "ada", "7")]));
        assert!(matches!(sent.look(&answered), Fate::Answered(d) if d.what == "Refused"));
    }

    #[test]
    fn a_controller_too_quick_to_be_seen_is_believed_by_kind_and_person() {
        let before = rollout(orders(&[order("2", "abort", "bob")]), json!([decision("Paused", "ada", "1")]));
        let mut sent = Sent::new(OrderKind::Pause, "ada", &before);
        let others = json!([decision("Paused", "ada", "1"), decision("Aborted", "bob", "2")]);
        assert_eq!(sent.look(&rollout(json!({}), others)), Fate::Taken);
        let ours = json!([decision("Paused", "ada", "1"), decision("Paused", "ada", "3")]);
        assert!(
            matches!(sent.look(&rollout(json!({}), ours)), Fate::Answered(d) if d.order.as_deref() == Some("3"))
        );
    }

    #[test]
    fn an_order_of_somebody_else_is_not_taken_for_ours() {
        let mut sent = Sent::new(OrderKind::Abort, "ada", &rollout(json!({}), json!([])));
        let both = orders(&[order("1", "abort", "bob"), order("2", "abort", "ada")]);
        assert_eq!(sent.look(&rollout(both, json!([decision("Aborted", "bob", "1")]))), Fate::Taken);
        let answered = json!([decision("Aborted", "bob", "1"), decision("Refused", "ada", "2")]);
        assert!(matches!(sent.look(&rollout(json!({}), answered)), Fate::Answered(d) if d.who == "ada"));
    }

    #[test]
    fn rubbish_in_the_list_of_orders_harms_nothing() {
        for text in ["", "{", "[1, null, {}]", "{\"id\": 3}"] {
            assert!(taken(&rollout(json!({TAKEN: text}), json!([]))).is_empty(), "{text}");
        }
    }
}
