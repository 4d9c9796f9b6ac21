//! Who is to be looked at: each Rollout that has news is tended by a task of its own, as long as there is anything
//! to wait for. An idle Rollout has none, and costs nothing but its entry in the index.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use penstock_signals::RolloutName;
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// The bell of one Rollout.
#[derive(Default)]
pub(super) struct Bell {
    notify: Notify,
    rung: Mutex<Option<Instant>>,
}

impl Bell {
    /// Rings; many times before anyone hears is once.
    pub(super) fn ring(&self) {
        self.rung.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Instant::now);
        self.notify.notify_one();
    }

    /// Waits until it rings, or has rung unheard.
    pub(super) async fn rings(&self) {
        // A ring that was heard before anybody waited has left its mark here, too: it is no news.
        while !self.is_rung() {
            self.notify.notified().await;
        }
    }

    /// Since when it has rung unheard.
    pub(super) fn heard(&self) -> Option<Instant> {
        self.rung.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn is_rung(&self) -> bool {
        self.rung.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

/// Who is to be tended, with the bell that wakes who does so.
pub(super) type Begun = UnboundedReceiver<(RolloutName, Arc<Bell>)>;

/// The bells of those that are tended. Nobody is, while no controller leads here.
pub(super) struct Wakers {
    tended: Mutex<BTreeMap<RolloutName, Arc<Bell>>>,
    begin: UnboundedSender<(RolloutName, Arc<Bell>)>,
    begun: Mutex<Option<Begun>>,
    leads: Mutex<bool>,
}

impl Default for Wakers {
    fn default() -> Wakers {
        let (begin, begun) = unbounded_channel();
        Wakers { tended: Mutex::default(), begin, begun: Mutex::new(Some(begun)), leads: Mutex::new(false) }
    }
}

impl Wakers {
    /// Wakes who tends a Rollout, or asks for somebody to do so.
    pub(super) fn wake(&self, key: RolloutName) {
        if !*self.leads.lock().unwrap_or_else(PoisonError::into_inner) {
            return;
        }
        let mut tended = self.tended.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bell) = tended.get(&key) {
            return bell.ring();
        }
        let bell = Arc::new(Bell::default());
        bell.ring();
        tended.insert(key.clone(), Arc::clone(&bell));
        // At most one entry per Rollout waits there. It fails when everything ends.
        let _ = self.begin.send((key, bell));
    }

    /// Wakes those of a namespace that are tended anyway.
    pub(super) fn ring(&self, namespace: &str) {
        let tended = self.tended.lock().unwrap_or_else(PoisonError::into_inner);
        tended.iter().filter(|(key, _)| key.namespace == namespace).for_each(|(_, bell)| bell.ring());
    }

    /// Takes leave of a Rollout, unless its bell has rung since it was heard. Returns whether that is so.
    pub(super) fn leave(&self, key: &RolloutName, bell: &Arc<Bell>) -> bool {
        let mut tended = self.tended.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = tended.get(key).is_some_and(|known| Arc::ptr_eq(known, bell));
        if mine && bell.is_rung() {
            return false;
        }
        if mine {
            tended.remove(key);
        }
        true
    }

    /// How many are tended.
    pub(super) fn tended(&self) -> usize {
        self.tended.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Begins or ends to wake anyone. Whoever was tended is forgotten.
    pub(super) fn lead(&self, leads: bool) {
        *self.leads.lock().unwrap_or_else(PoisonError::into_inner) = leads;
        self.tended.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Who is to be tended from now on; for the one who spawns the tasks.
    pub(super) fn begun(&self) -> Option<Begun> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> RolloutName {
        RolloutName { namespace: "shop".into(), name: "checkout".into() }
    }

    #[test]
    fn many_events_are_one_task_and_one_look() {
        let wakers = Wakers::default();
        let mut begun = wakers.begun().unwrap();
        wakers.wake(key());
        assert!(begun.try_recv().is_err(), "nobody leads");
        wakers.lead(true);
        for _ in 0..100 {
            wakers.wake(key());
        }
        let (_, bell) = begun.try_recv().unwrap();
        assert!(begun.try_recv().is_err());
        assert!(bell.heard().is_some() && bell.heard().is_none());
    }

    #[tokio::test]
    async fn a_ring_that_was_heard_is_no_news() {
        let bell = Bell::default();
        bell.ring();
        assert!(bell.heard().is_some());
        let soon = std::time::Duration::from_millis(10);
        assert!(tokio::time::timeout(soon, bell.rings()).await.is_err());
        bell.ring();
        assert!(tokio::time::timeout(soon, bell.rings()).await.is_ok());
    }

    #[test]
    fn news_that_come_while_one_takes_leave_are_not_lost() {
        let wakers = Wakers::default();
        let mut begun = wakers.begun().unwrap();
        wakers.lead(true);
        wakers.wake(key());
        let (key, bell) = begun.try_recv().unwrap();
        assert!(!wakers.leave(&key, &bell), "it has rung");
        bell.heard();
        assert!(wakers.leave(&key, &bell));
        wakers.wake(key);
        assert!(begun.try_recv().is_ok());
    }
}
