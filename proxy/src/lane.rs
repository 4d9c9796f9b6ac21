//! What the threads of the data plane share for one Rollout.

use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::ArcSwap;
use penstock_proxy_core::limit::Limit;
use penstock_proxy_core::table::Table;

use crate::series::Series;

/// Requests to so many revisions are numbered apart.
const TURNS: usize = 4;

/// One Rollout: its table in effect and what outlives tables.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) namespace: String,
    pub(crate) rollout: String,
    pub(crate) entry: ArcSwap<Entry>,
    pub(crate) limit: Arc<Limit>,
    /// Counts requests that got no revision.
    pub(crate) unrouted: Arc<Series>,
}

/// A table, and the series of each of its revisions. Swapped as one.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    pub(crate) table: Table,
    pub(crate) series: Vec<Arc<Series>>,
}

/// A Rollout as one thread sees it. Requests share what is behind it without a word to other threads.
#[derive(Debug)]
pub(crate) struct Desk {
    lane: Arc<Lane>,
    current: RefCell<Current>,
    turns: [Cell<u64>; TURNS],
}

/// An entry, shared within one thread.
pub(crate) type Current = Rc<Arc<Entry>>;

impl Desk {
    /// The turns begin with `turn`: each thread's elsewhere.
    pub(crate) fn new(lane: Arc<Lane>, turn: u64) -> Rc<Desk> {
        let current = RefCell::new(Rc::new(lane.entry.load_full()));
        Rc::new(Desk { lane, current, turns: std::array::from_fn(|_| Cell::new(turn)) })
    }

    /// The number of a request among those of its revision.
    pub(crate) fn turn(&self, revision: usize) -> u64 {
        let turn = &self.turns[revision % TURNS];
        turn.replace(turn.get().wrapping_add(1))
    }

    /// The entry of now.
    pub(crate) fn entry(&self) -> Current {
        let entry = self.lane.entry.load();
        let mut current = self.current.borrow_mut();
        if !Arc::ptr_eq(&entry, &current) {
            *current = Rc::new(Arc::clone(&entry));
        }
        Rc::clone(&current)
    }
}

impl Deref for Desk {
    type Target = Lane;

    fn deref(&self) -> &Lane {
        &self.lane
    }
}

#[cfg(test)]
mod tests {
    use arc_swap::ArcSwap;
    use penstock_proxy_core::limit::Limit;

    use super::*;
    use crate::series::{Key, edges};

    #[test]
    fn a_desk_shows_the_entry_of_now_and_who_has_one_keeps_it() {
        let lane = Arc::new(Lane {
            namespace: "shop".into(),
            rollout: "checkout".into(),
            entry: ArcSwap::default(),
            limit: Limit::new(1),
            unrouted: Series::new(Key::default(), 1, &edges(&[])),
        });
        let desk = Desk::new(Arc::clone(&lane), 0);
        let before = desk.entry();
        assert!(Rc::ptr_eq(&before, &desk.entry()));
        let table = Table { generation: 7, ..Table::default() };
        lane.entry.store(Arc::new(Entry { table, series: Vec::new() }));
        assert_eq!((before.table.generation, desk.entry().table.generation), (0, 7));
    }
}
