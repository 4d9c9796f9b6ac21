//! The Rollouts of a folder as they stand, in memory: who only looks needs no disk.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::sync::watch;

use super::home::Key;

/// The Rollouts of a folder.
#[derive(Debug)]
pub struct Shelf {
    all: Mutex<BTreeMap<Key, (u64, Arc<Value>)>>,
    changes: watch::Sender<u64>,
}

impl Default for Shelf {
    fn default() -> Shelf {
        Shelf { all: Mutex::default(), changes: watch::channel(0).0 }
    }
}

impl Shelf {
    /// Puts a Rollout in place of what stood there.
    pub fn put(&self, key: &Key, object: Value) {
        let version = self.tell();
        self.all().insert(key.clone(), (version, Arc::new(object)));
        self.tell();
    }

    /// Takes away one that is gone.
    pub fn remove(&self, key: &Key) {
        self.all().remove(key);
        self.tell();
    }

    /// All of them with numbers that change when they do.
    pub fn list(&self) -> Vec<(Key, u64)> {
        self.all().iter().map(|(key, (version, _))| (key.clone(), *version)).collect()
    }

    /// One of them.
    pub fn get(&self, key: &Key) -> Option<Arc<Value>> {
        self.all().get(key).map(|(_, object)| Arc::clone(object))
    }

    /// Rings at every change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn tell(&self) -> u64 {
        let mut number = 0;
        self.changes.send_modify(|n| {
            *n = n.wrapping_add(1);
            number = *n;
        });
        number
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<Key, (u64, Arc<Value>)>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
