//! Orders of people: `penstock promote`, `abort`, `pause`, `resume`, `retry`, `undo`.

use std::io::{Write, stdout};
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use penstock_core::observation::OrderKind;
use penstock_core::revision::Revision;
use penstock_crds::Phase;

use super::place::{NotFound, Place, Saved, Scope, Target, Told, Where, Wish, listed};
use super::{Exit, complete};

/// The longest wait for an answer: a day.
const LONGEST: u64 = 24 * 3_600_000;

/// Most Rollouts that are named.
const NAMES: usize = 10;

/// What all orders have in common.
#[derive(Debug, Args)]
pub(super) struct Order {
    /// The Rollout's name, or NAMESPACE/NAME; may be left out where only one can be meant
    #[arg(value_name = "NAME", add = complete::rollouts())]
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
        let saved = self.rollout(place.as_ref(), namespace, &kind)?;
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

    fn rollout(&self, place: &dyn Place, namespace: Option<String>, kind: &OrderKind) -> Result<Saved> {
        if let Some(name) = &self.name {
            return place.find(&Target::new(name, namespace.as_deref()));
        }
        let scope = Scope { namespace, everywhere: false };
        let all = place.all(&scope)?;
        if all.is_empty() {
            bail!(NotFound(place.empty(&scope)));
        }
        the_one(kind, all)
    }
}

/// The Rollout that is meant by an order without a name: the only one, or the only one that it can be about. What gives
/// a version all traffic unjudged, or brings back an old one, is never guessed of several.
///
/// Errors: it could be several; they are named, and nothing is done.
fn the_one(kind: &OrderKind, all: Vec<Saved>) -> Result<Saved> {
    let named: Vec<String> = all.iter().map(candidate).collect();
    let only = all.len() == 1;
    let guessed = !matches!(kind, OrderKind::PromoteFull | OrderKind::Undo(_));
    let mut meant: Vec<Saved> =
        all.into_iter().filter(|saved| only || (guessed && is_about(kind, saved))).collect();
    match (meant.pop(), meant.is_empty()) {
        (Some(one), true) => Ok(one),
        (Some(last), false) => {
            let mut names: Vec<_> = meant.iter().map(candidate).collect();
            names.push(candidate(&last));
            bail!("several Rollouts can be meant, nothing is done: name one of {}", listed(&names, NAMES))
        }
        (None, _) => bail!("nothing is done: name one of {}", listed(&named, NAMES)),
    }
}

fn candidate(saved: &Saved) -> String {
    let phase = saved.rollout.status.as_ref().map(|status| status.phase).unwrap_or_default();
    format!("{}/{} ({})", saved.namespace(), saved.name(), phase.as_str())
}

/// Whether the order would do anything to it.
fn is_about(kind: &OrderKind, saved: &Saved) -> bool {
    let Some(status) = &saved.rollout.status else { return false };
    let aborted = status.phase == Phase::Aborted;
    match kind {
        OrderKind::Retry => aborted,
        OrderKind::Abort
        | OrderKind::Promote
        | OrderKind::PromoteFull
        | OrderKind::Pause
        | OrderKind::Resume
        | OrderKind::Undo(_) => status.canary_revision.is_some() && !aborted,
    }
}

/// A time as people write it: a whole number with its unit.
pub(super) fn time(text: &str) -> Result<Duration, String> {
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

    fn saved(name: &str, phase: &str) -> Saved {
        let canary = ["Progressing", "Paused", "Held", "Aborted"].contains(&phase).then_some("7d9f8a0b22");
        Saved::new(serde_json::json!({
            "apiVersion": "penstock.dev/v1alpha1",
            "kind": "Rollout",
            "metadata": {"name": name, "namespace": "shop"},
            "spec": {},
            "status": {"phase": phase, "stableRevision": "5c6b7d9f01", "canaryRevision": canary},
        }))
    }

    fn meant(kind: &OrderKind, all: &[(&str, &str)]) -> Result<String, String> {
        let all = all.iter().map(|(name, phase)| saved(name, phase)).collect();
        the_one(kind, all).map(|one| one.name().to_owned()).map_err(|error| error.to_string())
    }

    #[test]
    fn without_a_name_the_only_release_under_way_is_meant() {
        let all = [("cart", "Stable"), ("checkout", "Progressing"), ("search", "Aborted")];
        for kind in [OrderKind::Promote, OrderKind::Abort, OrderKind::Pause, OrderKind::Resume] {
            assert_eq!(meant(&kind, &all).as_deref(), Ok("checkout"), "{kind:?}");
        }
        assert_eq!(meant(&OrderKind::Retry, &all).as_deref(), Ok("search"));
        assert_eq!(
            meant(&OrderKind::PromoteFull, &[("cart", "Stable")]).as_deref(),
            Ok("cart"),
            "the only one"
        );
    }

    #[test]
    fn an_order_that_could_mean_several_names_them_and_does_nothing() {
        let both = [("cart", "Paused"), ("checkout", "Progressing"), ("search", "Stable")];
        let told = meant(&OrderKind::Abort, &both).unwrap_err();
        assert!(
            told.contains("shop/cart (Paused)") && told.contains("shop/checkout (Progressing)"),
            "{told}"
        );
        assert!(!told.contains("search"), "{told}");
        // Neither is guessed, for what they do can't be taken back by waiting.
        for kind in [OrderKind::PromoteFull, OrderKind::Undo(None)] {
            assert!(meant(&kind, &both[1..]).unwrap_err().contains("nothing is done"), "{kind:?}");
        }
        assert!(
            meant(&OrderKind::Promote, &both[2..]).is_ok(),
            "the only one is told what is wrong by the machine"
        );
    }

    #[test]
    fn a_time_has_a_number_and_a_unit() {
        assert_eq!(time("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!((time("0s"), time("2m")), (Ok(Duration::ZERO), Ok(Duration::from_secs(120))));
        for text in ["", "5", "s", "1.5s", "-1s", "25h", "99999999999999999999h", "5 s"] {
            assert!(time(text).is_err(), "{text}");
        }
    }
}
