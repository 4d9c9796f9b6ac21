//! Ports for servers that must be told theirs before they start.

use std::net::TcpListener;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, bail};

/// Below the ports that Linux gives to whoever connects to anything: none of those becomes somebody's own in between.
const RANGE: Range<u32> = 10_000..32_000;

/// A TCP port on loopback that nobody listens on, and another one at each call. Another process may take it before you
/// do, though rarely: each begins elsewhere.
pub fn free() -> Result<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let begin = std::process::id().wrapping_mul(977);
    for _ in RANGE {
        let offset = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % (RANGE.end - RANGE.start);
        let port = u16::try_from(RANGE.start + offset)?;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port of 127.0.0.1 from {} to {} is free", RANGE.start, RANGE.end - 1)
}
