//! Waiting for conditions instead of sleeping.

use std::fmt::Display;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long anything may take that must come: the machine may be busy with something else.
pub const PATIENCE: Duration = Duration::from_secs(90);

const PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(300);

/// Asks until the answer is `Ok`, and gives it back. Errors: none within `deadline`; names `what` and the last
/// reason why not.
pub async fn wait_until<T, E: Display>(
    what: &str,
    deadline: Duration,
    mut ask: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T> {
    let begun = Instant::now();
    loop {
        let asked = Instant::now();
        let why = match tokio::time::timeout(deadline, ask()).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(why)) => why.to_string(),
            Err(_) => "the condition itself took too long".to_owned(),
        };
        if begun.elapsed() >= deadline {
            bail!("waited {deadline:?} in vain until {what}; at last: {why}");
        }
        // Who asks at great expense, by a program of its own for instance, is not to keep a core busy.
        tokio::time::sleep((asked.elapsed() * 2).clamp(PAUSE, LONGEST_PAUSE)).await;
    }
}
