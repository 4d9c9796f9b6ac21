//! What the demo claims, and whether it held, by what the load generator has measured.

use std::time::Duration;

use super::account::{Account, Window};
use super::play::Ended;
use super::screen::{latency, outcome};
use super::script::{Ends, LEAST_REQUESTS, MOST_BORNE};

/// A claim and whether it held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    /// What is claimed, with the figure that was measured.
    pub(crate) text: String,
    /// Whether it held.
    pub(crate) held: bool,
}

/// The table of all releases.
pub(crate) fn table(account: &Account, ended: &[Ended]) -> String {
    let mut text = format!(
        "{:<8} {:<39} {:>9} {:>7} {:>10}  {:<22} {}\n",
        "release", "", "requests", "failed", "p99", "outcome", "first bad to zero"
    );
    for end in ended {
        let Some(window) = window(account, end) else { continue };
        let borne = window.borne(end.scene.version).filter(|_| end.scene.ends == Ends::RolledBack);
        let borne = borne.map_or("-".to_owned(), |time| format!("{:.2} s", time.as_secs_f64()));
        text += &format!(
            "{:<8} {:<39} {:>9} {:>7} {:>10}  {:<22} {borne}\n",
            end.scene.version,
            end.scene.like,
            window.all.ended,
            window.all.failed,
            latency(&window.all),
            outcome(end.phase, end.took),
        );
    }
    text
}

/// Everything that the demo claims.
pub(crate) fn claims(account: &Account, first: &Ended, ended: &[Ended]) -> Vec<Claim> {
    let mut claims = Vec::new();
    let mut stable = first.stable.clone();
    for end in ended {
        let version = end.scene.version;
        let held = end.as_it_should(stable.as_deref());
        let text = match end.scene.ends {
            Ends::Shipped => format!("{version} has all traffic"),
            Ends::RolledBack => {
                format!("{version} is rolled back and {} has all traffic", stable.as_deref().unwrap_or("-"))
            }
        };
        claims.push(Claim { text, held });
        claims.extend(window(account, end).map(|window| measured(end, window)));
        stable.clone_from(&end.stable);
    }
    let whole = account.whole();
    let lost = whole.all.broken + whole.all.timed_out + whole.unsent;
    claims.push(Claim { text: format!("{lost} requests without an answer in all"), held: lost == 0 });
    claims
}

fn measured(end: &Ended, window: &Window) -> Claim {
    let version = end.scene.version;
    match end.scene.ends {
        Ends::Shipped => {
            let (failed, ended) = (window.all.failed, window.all.ended);
            let text = format!(
                "{failed} of {ended} requests failed while {version} was released, of {LEAST_REQUESTS} at least"
            );
            Claim { text, held: failed == 0 && ended >= LEAST_REQUESTS }
        }
        Ends::RolledBack => borne(version, window.borne(version)),
    }
}

fn borne(version: &str, time: Option<Duration>) -> Claim {
    let most = MOST_BORNE.as_secs_f64();
    match time {
        Some(time) => Claim {
            text: format!(
                "{:.2} s from the first bad response of {version} to its last one, {most} s at most",
                time.as_secs_f64()
            ),
            held: time <= MOST_BORNE,
        },
        None => Claim { text: format!("{version} gave no bad response: it was never tried"), held: false },
    }
}

fn window<'a>(account: &'a Account, end: &Ended) -> Option<&'a Window> {
    account.windows().iter().find(|window| window.name == end.scene.version)
}
