//! What holds for all Rollouts of a controller or a folder: freezes, and who is told.

use clap::Args;
use penstock_crds::{Freeze, Receiver, Refusal};
use penstock_driver::outside::Outside;

/// What holds for all Rollouts.
#[derive(Debug, Args)]
pub(super) struct OutsideArgs {
    /// A time in which nothing is promoted, of whatever Rollout, as in spec.freeze: '{schedule: "0 18 * * 5", timeZone:
    /// Europe/Berlin, duration: 62h, reason: weekend}'. May be given several times
    #[arg(long, value_name = "FREEZE", value_parser = freeze)]
    freeze: Vec<Freeze>,
    /// Who is told of what becomes of all Rollouts, as in spec.notify: '{name: ops, slack: {urlSecret: {name: slack, key:
    /// url}}}'. Its Secrets are those of the controller's own namespace. May be given several times
    #[arg(long, value_name = "RECEIVER", value_parser = receiver)]
    notify: Vec<Receiver>,
    /// The address of the on-call page, for links in notices
    #[arg(long, value_name = "URL", env = "PENSTOCK_PAGE_URL", value_parser = page)]
    page_url: Option<String>,
}

impl From<OutsideArgs> for Outside {
    fn from(args: OutsideArgs) -> Outside {
        Outside { freezes: args.freeze, receivers: args.notify, page: args.page_url }
    }
}

fn freeze(text: &str) -> Result<Freeze, String> {
    Freeze::read(text).map_err(said)
}

fn receiver(text: &str) -> Result<Receiver, String> {
    Receiver::read(text).map_err(said)
}

fn page(text: &str) -> Result<String, String> {
    let web = text.starts_with("http://") || text.starts_with("https://");
    if web {
        Ok(text.to_owned())
    } else {
        Err("write an address such as https://penstock.example.com".to_owned())
    }
}

fn said(refusals: Vec<Refusal>) -> String {
    refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
