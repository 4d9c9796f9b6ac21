//! What would become of an order.

use std::collections::BTreeMap;

use super::step;
use crate::decision::What;
use crate::observation::{Observation, Order, OrderKind, Pods};
use crate::revision::Revision;
use crate::state::State;
use crate::strategy::Strategy;
use crate::time::Time;

/// Why an order would be refused if it came now; `None`: it would be followed. `kept` are the revisions that exist.
///
/// It is what [`step`] itself makes of the order, so there is no second opinion.
pub fn refusal(
    strategy: &Strategy,
    state: &State,
    kept: &BTreeMap<Revision, Pods>,
    kind: OrderKind,
    now: Time,
) -> Option<String> {
    let id = "what-if".to_owned();
    let order = Order { id: id.clone(), kind, who: String::new(), reason: String::new(), at: now };
    let seen = Observation { revisions: Some(kept.clone()), orders: vec![order], ..Observation::default() };
    let next = step(strategy, state, &seen, now);
    let refused =
        next.decisions.into_iter().find(|d| d.order.as_ref() == Some(&id) && d.what == What::Refused);
    refused.map(|decision| decision.why)
}
