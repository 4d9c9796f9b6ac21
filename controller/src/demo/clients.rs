//! Clients of a service on a cluster, to try a release on: steady requests, each over a connection of its own, and a
//! line about them every few seconds.

use std::collections::BTreeMap;
use std::io::{Write, stdout};
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use http::Uri;

use super::load::{Load, Traffic};
use super::{SLOW, TIMEOUT};
use crate::cli::local::interrupted;

/// Requests that may be under way at a time.
const IN_FLIGHT: usize = 256;
/// Time between two lines.
const EVERY: Duration = Duration::from_secs(5);

/// The hidden command `demo-clients`.
#[derive(Debug, Args)]
pub(crate) struct Clients {
    /// Where to
    url: Uri,
    /// Requests a second: 1 to 1000
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rate: u32,
}

/// Requests that have ended, those that failed, and those of each revision.
#[derive(Clone, Default)]
struct Sums {
    ended: u64,
    failed: u64,
    revisions: BTreeMap<String, u64>,
}

impl Clients {
    /// Asks until SIGTERM or Ctrl-C.
    pub(crate) fn run(self) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.context("start the runtime")?.block_on(self.ask())
    }

    async fn ask(self) -> Result<()> {
        let Clients { url, rate } = self;
        // A connection that is kept would go on to where it was opened, whatever becomes of the Service.
        let traffic = Traffic { url, rate, in_flight: IN_FLIGHT, kept: 0, timeout: TIMEOUT, slow: SLOW };
        let load = Load::start("all", traffic);
        let mut end = std::pin::pin!(interrupted());
        let mut told = Sums::default();
        loop {
            let over = tokio::select! {
                () = tokio::time::sleep(EVERY) => false,
                () = &mut end => true,
            };
            let sums = sums(&load);
            writeln!(stdout(), "{}", line(&told, &sums))?;
            told = sums;
            if over {
                return Ok(());
            }
        }
    }
}

fn sums(load: &Load) -> Sums {
    let whole = load.account().whole();
    let revisions = whole.revisions.iter().map(|(name, tally)| (name.clone(), tally.ended)).collect();
    Sums { ended: whole.all.ended, failed: whole.all.failed, revisions }
}

/// `0 of 250 failed (v1 90 %, v2 10 %); 0 of 1250 in all`.
fn line(before: &Sums, now: &Sums) -> String {
    let (ended, failed) = (now.ended - before.ended, now.failed - before.failed);
    let new = |(name, count): (&String, &u64)| {
        let count = count - before.revisions.get(name).copied().unwrap_or(0);
        let percent = (100.0 * count as f64 / ended.max(1) as f64).round();
        (count > 0).then(|| format!("{name} {percent} %"))
    };
    let shares: Vec<String> = now.revisions.iter().filter_map(new).collect();
    format!("{failed} of {ended} failed ({}); {} of {} in all", shares.join(", "), now.failed, now.ended)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(ended: u64, failed: u64, revisions: &[(&str, u64)]) -> Sums {
        Sums {
            ended,
            failed,
            revisions: revisions.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect(),
        }
    }

    #[test]
    fn a_line_tells_of_what_is_new_and_of_all() {
        let before = sums(100, 1, &[("v1", 99)]);
        let now = sums(300, 3, &[("v1", 279), ("v2", 20)]);
        assert_eq!(line(&before, &now), "2 of 200 failed (v1 90 %, v2 10 %); 3 of 300 in all");
        assert_eq!(line(&now, &now), "0 of 0 failed (); 3 of 300 in all");
    }
}
