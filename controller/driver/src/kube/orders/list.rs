//! The list of claimed orders. It is ours, and yet anybody who may write to a Rollout may write to it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use penstock_core::observation::Order;
use serde::Deserialize;
use serde_json::Value;

use super::{LONGEST_REASON, LONGEST_WHO, MOST, ORDERS, line};

/// Most bytes of the list: an API server allows 256 KiB for all annotations together.
const MOST_BYTES: usize = 128 * 1024;
/// Most bytes of an order's id.
pub(super) const LONGEST_ID: usize = 128;

/// The list, and what was wrong with it.
#[derive(Debug, Default)]
pub(super) struct List {
    pub(super) orders: Vec<Order>,
    pub(super) problem: Option<String>,
}

impl List {
    pub(super) fn of(metadata: &ObjectMeta) -> List {
        let text = metadata.annotations.as_ref().and_then(|annotations| annotations.get(ORDERS));
        let Some(text) = text else { return List::default() };
        let entries = match serde_json::from_str::<Vec<Value>>(text) {
            Ok(entries) => entries,
            Err(error) => return List { orders: Vec::new(), problem: Some(damaged(&error.to_string())) },
        };
        let mut list = List::default();
        for entry in entries {
            if let Err(why) = list.take(entry) {
                list.problem.get_or_insert_with(|| damaged(&why));
            }
        }
        list
    }

    /// Adds an order. Returns whether there was room for it.
    pub(super) fn push(&mut self, order: Order) -> bool {
        self.orders.push(order);
        let fits = self.orders.len() <= MOST && self.text().is_some_and(|text| text.len() <= MOST_BYTES);
        if !fits {
            self.orders.pop();
        }
        fits
    }

    /// The annotation's text; none when nothing waits.
    pub(super) fn text(&self) -> Option<String> {
        // An order always becomes JSON.
        (!self.orders.is_empty()).then(|| serde_json::to_string(&self.orders).unwrap_or_default())
    }

    fn take(&mut self, entry: Value) -> Result<(), String> {
        let order = Order::deserialize(entry).map_err(|error| error.to_string())?;
        if order.id.is_empty() || order.id.len() > LONGEST_ID {
            return Err(format!("an id has 1 to {LONGEST_ID} bytes"));
        }
        if self.orders.iter().any(|other| other.id == order.id) {
            return Err(format!("the id {} is there twice", line(&order.id, LONGEST_ID)));
        }
        let order = Order {
            who: line(&order.who, LONGEST_WHO),
            reason: line(&order.reason, LONGEST_REASON),
            ..order
        };
        if self.push(order) { Ok(()) } else { Err(format!("it holds more than {MOST} orders")) }
    }
}

fn damaged(why: &str) -> String {
    format!(
        "the annotation {ORDERS} was written by somebody else ({}): what is no order in it is taken out; give orders with `penstock abort`, `promote`, …",
        line(why, 200)
    )
}
