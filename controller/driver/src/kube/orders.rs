//! Orders of people, as annotations of a Rollout. Nothing here does I/O.
//!
//! A person writes `penstock.dev/abort: "p99 looks wrong"`. The controller claims it with one patch, which takes the
//! annotation away and puts the order with an id of its own into the list in `penstock.dev/orders`. There it waits
//! until it was handled and that was saved; then it is taken off. The patch holds on what was read only, and the rollout
//! machine remembers ids: so each order is handled once, whatever crashes in between.

mod change;
mod give;
mod list;
mod wish;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use penstock_core::observation::Order;
use penstock_core::time::Time;

pub use change::Change;
pub use give::{annotation, annotation_of_who, give, given};
use list::List;

/// Annotation of a Rollout: the orders that were claimed and are not handled yet, as JSON.
pub const ORDERS: &str = "penstock.dev/orders";
/// Most orders of one Rollout that wait at a time.
pub const MOST: usize = 64;

/// Most bytes of a reason; what is beyond is cut off.
const LONGEST_REASON: usize = 4096;
/// Most bytes of a person's name, or a field manager's.
const LONGEST_WHO: usize = 256;

/// The change that claims the orders that people have written. `None`: there is nothing to claim.
///
/// Orders come in the order of their times; those of one and the same time (a field manager has one time for all
/// that it wrote) come with the most careful last, which is the one that then holds: abort, before it pause. It also
/// takes out of the list what is no order. [`problems`] says what it leaves.
pub fn claims(metadata: &ObjectMeta, mut new_id: impl FnMut() -> String, now: Time) -> Option<Change> {
    let mut list = List::of(metadata);
    let (wishes, _) = wish::all(metadata, now);
    let mut taken = Vec::new();
    for wish in &wishes {
        if !list.push(wish.order(new_id())) {
            break;
        }
        taken.push(wish.annotation.as_str());
        taken.extend(wish.annotation_of_who.as_deref());
    }
    if taken.is_empty() && list.problem.is_none() {
        return None;
    }
    Some(Change::new(metadata, &taken, &list))
}

/// The orders that were claimed and wait, in the order in which they were. What is no order is left out.
pub fn waiting(metadata: &ObjectMeta) -> Vec<Order> {
    List::of(metadata).orders
}

/// The change that takes a handled order off the list. `None`: it is not there.
pub fn clear(metadata: &ObjectMeta, id: &str) -> Option<Change> {
    let mut list = List::of(metadata);
    let before = list.orders.len();
    list.orders.retain(|order| order.id != id);
    (list.orders.len() < before).then(|| Change::new(metadata, &[], &list))
}

/// What is wrong with the annotations, and what to write instead: misspelt orders, values that can't be understood,
/// a list that is damaged or full. It stays as it is until somebody changes it.
pub fn problems(metadata: &ObjectMeta) -> Vec<String> {
    let mut list = List::of(metadata);
    let (wishes, mut problems) = wish::all(metadata, Time(0));
    let waiting = list.orders.len();
    if wishes.first().is_some_and(|wish| !list.push(wish.order("0".repeat(list::LONGEST_ID)))) {
        problems.push(format!(
            "{waiting} orders wait, no more are taken: is the controller well? See its log, or remove the annotation {ORDERS}"
        ));
    }
    problems.extend(list.problem);
    problems
}

/// At most so many bytes in one line: what people write is shown on terminals.
fn line(text: &str, most: usize) -> String {
    let mut line: String = text.chars().take(most).map(|c| if c.is_control() { ' ' } else { c }).collect();
    line.truncate(line.floor_char_boundary(most));
    line.trim().to_owned()
}

#[cfg(test)]
mod tests;
