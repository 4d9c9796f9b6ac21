//! What the connections of one listener share on one thread: they hear when it stops.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::http1::alarm::Bell;

/// The connections of one listener.
#[derive(Debug, Default)]
pub(crate) struct Porch {
    stopping: Cell<bool>,
    bells: RefCell<BTreeMap<u64, Rc<Bell>>>,
}

/// A connection's place. Given back when dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    porch: Rc<Porch>,
    id: u64,
}

impl Porch {
    /// Takes note of a connection.
    pub(crate) fn enter(self: &Rc<Porch>, bell: &Rc<Bell>) -> Seat {
        self.bells.borrow_mut().insert(bell.id(), Rc::clone(bell));
        Seat { porch: Rc::clone(self), id: bell.id() }
    }

    /// From here on, idle connections end.
    pub(crate) fn stop(&self) {
        self.stopping.set(true);
        self.bells.borrow().values().for_each(|bell| bell.ring());
    }
}

impl Seat {
    /// Whether the listener has stopped.
    pub(crate) fn is_stopping(&self) -> bool {
        self.porch.stopping.get()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.porch.bells.borrow_mut().remove(&self.id);
    }
}
