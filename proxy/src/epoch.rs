//! Tells when no thread decides by an old table any more.
//!
//! A thread marks its cell before it loads the table and unmarks it when its request counts as in flight. Who has
//! swapped the table, or has seen it swapped, waits until each cell has been unmarked once: from then on, what is
//! in flight by the old table is counted, and nothing is added to it.

use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::Duration;

/// One cell for each thread of the data plane.
#[derive(Debug)]
pub(crate) struct Epochs(Box<[Cell]>);

/// Odd while its thread decides. A cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Cell(AtomicU64);

/// Marks a decision; unmarks when dropped. Must not be held while waiting.
#[derive(Debug)]
pub(crate) struct Deciding<'a>(&'a AtomicU64);

impl Epochs {
    pub(crate) fn new(threads: usize) -> Epochs {
        Epochs((0..threads).map(|_| Cell::default()).collect())
    }

    /// Begins a decision of thread `thread`. Decisions of one thread don't nest.
    pub(crate) fn decide(&self, thread: usize) -> Deciding<'_> {
        let cell = &self.0[thread].0;
        cell.store(cell.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        Deciding(cell)
    }

    /// Waits for the decisions that are being made. The caller has loaded the table that it means to report.
    pub(crate) async fn settle(&self) {
        fence(Ordering::SeqCst);
        for Cell(cell) in &self.0 {
            let seen = cell.load(Ordering::Acquire);
            while seen % 2 == 1 && cell.load(Ordering::Acquire) == seen {
                tokio::time::sleep(Duration::from_micros(100)).await;
            }
        }
    }
}

impl Drop for Deciding<'_> {
    fn drop(&mut self) {
        self.0.store(self.0.load(Ordering::Relaxed) + 1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use arc_swap::ArcSwap;

    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    }

    #[test]
    fn a_decision_under_way_is_waited_for() {
        let epochs = Epochs::new(2);
        let deciding = epochs.decide(1);
        runtime().block_on(async {
            let soon = Duration::from_millis(20);
            assert!(tokio::time::timeout(soon, epochs.settle()).await.is_err());
            drop(deciding);
            epochs.settle().await;
        });
    }

    /// Threads choose the revision that the table names and count themselves as in flight on it, slowly.
    #[test]
    fn once_settled_nothing_begins_by_an_old_table() {
        let (epochs, table) = (Epochs::new(2), ArcSwap::from_pointee(0usize));
        let begun: [AtomicU64; 2] = Default::default();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for thread in 0..2 {
                let (epochs, table, begun, over) = (&epochs, &table, &begun, &over);
                scope.spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        let _deciding = epochs.decide(thread);
                        let revision = **table.load();
                        (0..200).for_each(|_| std::hint::spin_loop());
                        begun[revision].fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            let runtime = runtime();
            for turn in 1..300usize {
                table.store(Arc::new(turn % 2));
                runtime.block_on(epochs.settle());
                let old = begun[1 - turn % 2].load(Ordering::SeqCst);
                (0..2000).for_each(|_| std::hint::spin_loop());
                assert_eq!(begun[1 - turn % 2].load(Ordering::SeqCst), old, "turn {turn}");
            }
            over.store(true, Ordering::Relaxed);
        });
    }
}
