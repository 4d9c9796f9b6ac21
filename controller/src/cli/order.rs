//! Orders of people: `penstock promote`, `abort`, `pause`, `resume`, `retry`, `undo`.

use std::io::{Write, stdout};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;
use penstock_core::observation::OrderKind;
use penstock_core::revision::Revision;
use penstock_crds::DecisionRecord;
use penstock_driver::local::instance::Instance;
use penstock_driver::local::orders::{Orders, Wish};
use penstock_driver::local::{Home, Key};

use super::store::{self, NotFound, Saved};
use super::{Exit, Place, now};

/// What all orders have in common.
#[derive(Debug, Args)]
pub(super) struct Order {
    /// The Rollout's name, or NAMESPACE/NAME; may be left out where there is only one
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// The Rollout's namespace; needed where several have one of this name
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// Why, for the record
    #[arg(short, long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// Who orders it
    #[arg(long = "as", value_name = "WHO", env = "USER", default_value = "somebody")]
    who: String,
    /// Don't wait until it is followed
    #[arg(long)]
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
    pub(super) fn run(self, place: &Place) -> Result<Exit> {
        let kind = if self.full { OrderKind::PromoteFull } else { OrderKind::Promote };
        self.order.run(place, kind)
    }
}

impl Undo {
    pub(super) fn run(self, place: &Place) -> Result<Exit> {
        let to = self.to_revision.map(Revision::new).transpose()?;
        self.order.run(place, OrderKind::Undo(to))
    }
}

impl Order {
    /// Gives the order, and waits until it was followed or refused.
    pub(super) fn run(self, place: &Place, kind: OrderKind) -> Result<Exit> {
        let saved = self.rollout(&place.dir)?;
        let home = Home::at(&place.dir)?;
        let key = Key::new(saved.namespace(), saved.name())?;
        let wish = Wish { kind, who: self.who, reason: self.reason };
        let id = Orders::new(&home).submit(&key, wish, now())?;
        if Instance::holder(&home).is_none() {
            let dir = place.dir.display();
            let text =
                format!("recorded; nobody runs {dir} now, it is followed when `penstock local {dir}` starts");
            return say(&text, Exit::Good);
        }
        if self.no_wait {
            return say("recorded", Exit::Good);
        }
        let Some(decision) = followed(&place.dir, &key, &id)? else {
            bail!(
                "the order is recorded, but was not followed within {} s: see the output of `penstock local`",
                PATIENCE.as_secs()
            )
        };
        let exit = if decision.what == "Refused" { Exit::Refused } else { Exit::Good };
        say(&format!("{}: {}", saved.name(), decision.why), exit)
    }

    fn rollout(&self, dir: &Path) -> Result<Saved> {
        if let Some(name) = &self.name {
            return store::find(dir, name, self.namespace.as_deref());
        }
        let mut all = store::all(dir)?;
        match (all.pop(), all.is_empty()) {
            (Some(one), true) => Ok(one),
            (Some(_), false) => bail!("there are several Rollouts: name one, see `penstock get`"),
            (None, _) => bail!(NotFound(format!("there is no Rollout in {}", dir.display()))),
        }
    }
}

/// How long an order may take to be followed.
const PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

/// The decision that answers an order; `None` when there is none in time.
fn followed(dir: &Path, key: &Key, id: &str) -> Result<Option<DecisionRecord>> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        let saved = store::find(dir, key.name(), Some(key.namespace()))?;
        let decisions = saved.rollout.status.map(|s| s.decisions).unwrap_or_default();
        if let Some(answer) = decisions.into_iter().find(|d| d.order.as_deref() == Some(id)) {
            return Ok(Some(answer));
        }
        sleep(POLL);
    }
    Ok(None)
}

fn say(text: &str, exit: Exit) -> Result<Exit> {
    writeln!(stdout(), "{text}")?;
    Ok(exit)
}
