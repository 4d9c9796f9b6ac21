//! Orders of people: `penstock promote`, `abort`, `pause`, `resume`, `retry`, `undo`.

use std::io::{Write, stdout};
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use penstock_core::observation::OrderKind;
use penstock_core::revision::Revision;

use super::place::{NotFound, Place, Saved, Scope, Target, Told, Where, Wish};
use super::{Exit, called};

/// The longest wait for an answer: a day.
const LONGEST: u64 = 24 * 3_600_000;

/// What all orders have in common.
#[derive(Debug, Args)]
pub(super) struct Order {
    /// The Rollout's name, or NAMESPACE/NAME; may be left out where there is only one
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Why, for the record
    #[arg(short, long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// Who orders it, for the record; when left out, on a cluster who you are there, otherwise USER
    #[arg(long = "as", value_name = "WHO")]
    who: Option<String>,
    /// How long to wait until it is followed: 500ms, 10s, 2m
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time)]
    timeout: Duration,
    /// Don't wait until it is followed
    #[arg(long, conflicts_with = "timeout")]
    no_wait: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  penstock promote checkout\n  penstock promote checkout --full")]
pub(super) struct Promote {
    /// All steps at once, whatever the measurements say
    #[arg(long)]
    full: bool,
    #[command(flatten)]
    order: Order,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  penstock undo checkout\n  penstock undo checkout --to-revision 5c6b7d9f42\n\nIn mid-release it goes back to the stable revision at once; otherwise the older revision is released by steps."
)]
pub(super) struct Undo {
    /// The revision that is wanted, of those that `penstock get` shows
    #[arg(long, value_name = "REVISION")]
    to_revision: Option<String>,
    #[command(flatten)]
    order: Order,
}

impl Promote {
    pub(super) fn run(self, place: &Where) -> Result<Exit> {
        let kind = if self.full { OrderKind::PromoteFull } else { OrderKind::Promote };
        self.order.run(place, kind)
    }
}

impl Undo {
    pub(super) fn run(self, place: &Where) -> Result<Exit> {
        let to = self.to_revision.map(Revision::new).transpose()?;
        self.order.run(place, OrderKind::Undo(to))
    }
}

impl Order {
    /// Gives the order, and waits until it was followed or refused.
    pub(super) fn run(self, place: &Where, kind: OrderKind) -> Result<Exit> {
        let namespace = place.namespace.clone();
        let place = place.place()?;
        let saved = self.rollout(place.as_ref(), namespace)?;
        let patience = (!self.no_wait).then_some(self.timeout);
        let wish = Wish { kind, who: self.who, reason: self.reason };
        let (text, exit) = match place.give(&saved, wish, patience)? {
            Told::Written(text) => (text, Exit::Good),
            Told::Answered(decision) => {
                let exit = if decision.what == "Refused" { Exit::Refused } else { Exit::Good };
                (format!("{}: {}", saved.name(), decision.why), exit)
            }
        };
        writeln!(stdout(), "{}", super::paint::clean(&text))?;
        Ok(exit)
    }

    fn rollout(&self, place: &dyn Place, namespace: Option<String>) -> Result<Saved> {
        if let Some(name) = &self.name {
            return place.find(&Target::new(name, namespace.as_deref()));
        }
        let scope = Scope { namespace, everywhere: false };
        let mut all = place.all(&scope)?;
        match (all.pop(), all.is_empty()) {
            (Some(one), true) => Ok(one),
            (Some(_), false) => {
                bail!("there are several Rollouts: name one, see `{} get`", called::name())
            }
            (None, _) => bail!(NotFound(place.empty(&scope))),
        }
    }
}

/// A time as people write it: a whole number with its unit.
fn time(text: &str) -> Result<Duration, String> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("write a whole number with its unit: 500ms, 10s, 2m".to_owned()),
    };
    let number: Option<u64> = text[..text.len() - unit.len()].parse().ok();
    let time = number.and_then(|number| number.checked_mul(millis)).filter(|time| *time <= LONGEST);
    time.map(Duration::from_millis).ok_or_else(|| "write at least 0ms and at most 24h".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_number_and_a_unit() {
        assert_eq!(time("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!((time("0s"), time("2m")), (Ok(Duration::ZERO), Ok(Duration::from_secs(120))));
        for text in ["", "5", "s", "1.5s", "-1s", "25h", "99999999999999999999h", "5 s"] {
            assert!(time(text).is_err(), "{text}");
        }
    }
}
