//! When this process takes over from the one before, and when the next one takes over from it.

use std::future::pending;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::board::Board;
use crate::handover::{self, Legacy};
use crate::worker::Shared;

/// How often to look whether there is a table.
const LOOK: Duration = Duration::from_millis(20);

/// Confirms to the process before, as soon as this one serves. Ends when the next one has confirmed to this one, which
/// never happens without a place for it.
pub(crate) async fn taken_over(
    path: Option<&Path>,
    legacy: Option<Legacy>,
    shared: &Arc<Shared>,
    board: &Board,
) {
    let Some(path) = path else { return pending().await };
    while !board.is_ready() {
        tokio::time::sleep(LOOK).await;
    }
    shared.ports.forget();
    if let Err(error) = succeed(path, legacy, shared).await {
        let path = path.display();
        tracing::error!(
            "sockets can't be handed over to another process at {path}: {error}; name a new file in a folder of your \
             own with --handover"
        );
        pending::<()>().await;
    }
}

async fn succeed(path: &Path, legacy: Option<Legacy>, shared: &Arc<Shared>) -> io::Result<()> {
    let listener = handover::listen(path)?;
    if let Some(legacy) = legacy {
        legacy.confirm()?;
        tracing::info!("sockets are taken over");
    }
    let (shared, (done, given)) = (Arc::clone(shared), oneshot::channel());
    // A thread that nobody waits for when the proxy ends.
    let serve = move || drop(done.send(handover::serve(&listener, || shared.ports.copies())));
    thread::Builder::new().name("penstock-heir".into()).spawn(serve)?;
    given.await.map_err(io::Error::other)?
}
