//! Ports for servers that must be told theirs before they start.

use std::net::TcpListener;

use anyhow::{Context, Result};

/// A TCP port on loopback that nobody listens on. Somebody else may take it before you do, though rarely: the
/// kernel hands ports out in turn.
pub fn free() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("find a free port on loopback")?;
    Ok(listener.local_addr()?.port())
}
