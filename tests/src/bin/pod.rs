//! A pod for tests: a backend whose faults come from the environment. `PORT`, `VERSION`, `FAIL_PERCENT`,
//! `SLOW_PERCENT` and `SLOW_MILLIS`. Ends with SIGTERM.

use std::time::Duration;

use anyhow::{Context, Result};
use penstock_tests::Backend;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let port = number("PORT")?.context("PORT is not set")?;
    let version = std::env::var("VERSION").unwrap_or_default();
    let backend = Backend::start_on(u16::try_from(port)?, &version).await?;
    backend.fail(u32::try_from(number("FAIL_PERCENT")?.unwrap_or(0))?);
    let latency = Duration::from_millis(number("SLOW_MILLIS")?.unwrap_or(0));
    backend.slow(u32::try_from(number("SLOW_PERCENT")?.unwrap_or(0))?, latency);
    std::future::pending().await
}

fn number(name: &str) -> Result<Option<u64>> {
    let Some(text) = std::env::var_os(name) else { return Ok(None) };
    let number = text.to_str().and_then(|t| t.parse().ok());
    Ok(Some(number.with_context(|| format!("{name} is {text:?}; write a whole number"))?))
}
