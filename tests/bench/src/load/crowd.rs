//! Many connections at once, to see what each of them costs.

use std::net::SocketAddr;

use anyhow::{Result, bail};
use tokio::task::JoinSet;

use super::connection::{Connection, Failure, get};

/// Connections that are opened at the same time.
const AT_ONCE: usize = 64;

/// Opens so many, and gets one answer on each.
pub(crate) async fn idle(to: SocketAddr, count: usize) -> Result<Vec<Connection>> {
    let (mut opening, mut open) = (JoinSet::new(), Vec::with_capacity(count));
    for begun in 0..count {
        opening.spawn_local(one(to));
        if begun + 1 >= AT_ONCE {
            take(&mut opening, &mut open).await?;
        }
    }
    while open.len() < count {
        take(&mut opening, &mut open).await?;
    }
    Ok(open)
}

async fn take(opening: &mut JoinSet<Result<Connection, Failure>>, open: &mut Vec<Connection>) -> Result<()> {
    match opening.join_next().await {
        Some(Ok(Ok(connection))) => open.push(connection),
        Some(Ok(Err(failure))) => bail!("connection {}: {}", open.len(), failure.words()),
        Some(Err(_)) | None => bail!("a client has ended"),
    }
    Ok(())
}

async fn one(to: SocketAddr) -> Result<Connection, Failure> {
    let mut connection = Connection::open(to).await?;
    connection.send(&get("/", "")).await?;
    Ok(connection)
}
