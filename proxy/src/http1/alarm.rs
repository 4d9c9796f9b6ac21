//! Deadlines of connections, without a timer for each.
//!
//! A connection's deadline moves with every request, nearly always to later. So it is armed once, and looked at again
//! when it rings: a request costs the alarm one comparison.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use penstock_proxy_core::balance::Tick;
use tokio::sync::Notify;

use crate::worker::{Shared, Worker};

/// No deadline.
pub(crate) const NEVER: Tick = Tick(u64::MAX);

/// All alarms of a thread.
#[derive(Debug, Default)]
pub(crate) struct Alarms {
    armed: RefCell<BTreeMap<(Tick, u64), Rc<Bell>>>,
    last: Cell<u64>,
    sooner: Notify,
}

/// What wakes a connection.
#[derive(Debug)]
pub(crate) struct Bell {
    id: u64,
    /// When to ring.
    due: Cell<Tick>,
    /// When it rings at the latest; `NEVER`: not at all.
    armed: Cell<Tick>,
    rung: Cell<bool>,
    waker: Waker,
}

/// One connection's alarm.
#[derive(Debug)]
pub(crate) struct Alarm {
    alarms: Rc<Alarms>,
    bell: Rc<Bell>,
}

impl Alarms {
    /// An alarm that wakes this task, and is not set.
    pub(crate) fn alarm(self: &Rc<Alarms>, waker: Waker) -> Alarm {
        let id = self.last.get() + 1;
        self.last.set(id);
        let bell = Bell { id, due: Cell::new(NEVER), armed: Cell::new(NEVER), rung: Cell::new(false), waker };
        Alarm { alarms: Rc::clone(self), bell: Rc::new(bell) }
    }

    /// Rings those that are due, for ever.
    pub(crate) async fn run(self: Rc<Alarms>, shared: Arc<Shared>) {
        loop {
            let now = shared.now();
            let Some(next) = self.ring(now) else {
                self.sooner.notified().await;
                continue;
            };
            let wait = Duration::from_millis(next.0 - now.0);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.sooner.notified() => {}
            }
        }
    }

    /// Rings what is due, and says when the next one is.
    fn ring(&self, now: Tick) -> Option<Tick> {
        loop {
            let mut armed = self.armed.borrow_mut();
            let first = armed.first_entry()?;
            let at = first.key().0;
            if at > now {
                return Some(at);
            }
            let bell = first.remove();
            drop(armed);
            bell.armed.set(NEVER);
            bell.ring();
        }
    }

    fn arm(&self, bell: &Rc<Bell>, at: Tick) {
        let mut armed = self.armed.borrow_mut();
        armed.remove(&(bell.armed.get(), bell.id));
        let first = armed.first_key_value().is_none_or(|((first, _), _)| at < *first);
        armed.insert((at, bell.id), Rc::clone(bell));
        bell.armed.set(at);
        if first {
            self.sooner.notify_one();
        }
    }
}

impl Bell {
    /// Number of the connection, unique in its thread.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Wakes the connection, to look what there is.
    pub(crate) fn ring(&self) {
        self.rung.set(true);
        self.waker.wake_by_ref();
    }
}

impl Alarm {
    /// Rings at `due`, and not before unless it rings for another reason.
    pub(crate) fn set(&self, due: Tick) {
        self.bell.due.set(due);
        if due < self.bell.armed.get() {
            self.alarms.arm(&self.bell, due);
        }
    }

    /// Whether it has rung since this was last asked.
    pub(crate) fn has_rung(&self) -> bool {
        self.bell.rung.replace(false)
    }

    /// Whether what it was set to is over. Arms it again if not.
    pub(crate) fn is_over(&self, now: Tick) -> bool {
        let due = self.bell.due.get();
        if due > now {
            self.set(due);
        }
        due <= now
    }

    /// What rings it.
    pub(crate) fn bell(&self) -> &Rc<Bell> {
        &self.bell
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.alarms.armed.borrow_mut().remove(&(self.bell.armed.get(), self.bell.id));
    }
}

/// Gives up a client that should take something and does not.
#[derive(Debug, Default)]
pub(crate) struct Stall {
    waits: bool,
}

impl Stall {
    /// Whether the client is to be given up. `blocked`: it is waited for; `moved`: it has taken something since this
    /// was last asked.
    pub(crate) fn is_over(
        &mut self,
        alarm: &Alarm,
        worker: &Worker,
        blocked: bool,
        moved: impl FnOnce() -> bool,
    ) -> bool {
        if blocked && self.waits {
            if !alarm.has_rung() || !alarm.is_over(worker.now()) {
                return false;
            }
            if !moved() {
                return true;
            }
        }
        if blocked {
            alarm.set(worker.stalled_at());
        } else if self.waits {
            alarm.set(NEVER);
        }
        self.waits = blocked;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_to_later_is_armed_once() {
        let alarms = Rc::new(Alarms::default());
        let alarm = alarms.alarm(Waker::noop().clone());
        alarm.set(Tick(100));
        alarm.set(Tick(500));
        assert_eq!(alarms.ring(Tick(99)), Some(Tick(100)));
        assert_eq!(alarms.ring(Tick(100)), None);
        assert!(alarm.has_rung() && !alarm.has_rung());
        assert!(!alarm.is_over(Tick(100)));
        assert_eq!(alarms.ring(Tick(499)), Some(Tick(500)));
        assert_eq!(alarms.ring(Tick(500)), None);
        assert!(alarm.has_rung() && alarm.is_over(Tick(500)));
    }

    #[test]
    fn what_moves_to_sooner_rings_sooner() {
        let alarms = Rc::new(Alarms::default());
        let (a, b) = (alarms.alarm(Waker::noop().clone()), alarms.alarm(Waker::noop().clone()));
        a.set(Tick(100));
        b.set(Tick(80));
        a.set(Tick(50));
        assert_eq!(alarms.ring(Tick(60)), Some(Tick(80)));
        assert!(a.has_rung() && !b.has_rung());
        drop(b);
        assert_eq!(alarms.ring(Tick(60)), None);
    }
}
