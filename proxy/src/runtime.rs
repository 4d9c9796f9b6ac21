//! The runtime of a thread of the data plane.

use std::io;

use tokio::runtime::{Builder, LocalOptions, LocalRuntime};

/// Runs hyper's tasks on the thread that they were made on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LocalExecutor;

impl<F> hyper::rt::Executor<F> for LocalExecutor
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// A runtime for one thread.
pub(crate) fn local() -> io::Result<LocalRuntime> {
    Builder::new_current_thread().enable_all().build_local(LocalOptions::default())
}
