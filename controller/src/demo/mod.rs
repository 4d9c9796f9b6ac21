//! `penstock demo`: a good release, one that fails, one that is slow, under steady traffic, measured by that traffic.

pub(crate) mod account;
mod claims;
pub(crate) mod clients;
pub(crate) mod load;
mod play;
mod screen;
mod script;
pub(crate) mod service;

use std::io::{IsTerminal, stdout};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use penstock_driver::local::run::{Options, run};
use penstock_driver::local::view::LocalView;
use penstock_driver::outside::Outside;
use tempfile::TempDir;

use crate::cli::Exit;
use crate::cli::local::{interrupted, log_to};
use crate::cli::paint::{Ink, Paint};
use crate::page;
use claims::{Claim, claims, table};
use load::{Load, Traffic};
use play::Play;
use screen::{Screen, say};
use script::SLOW;

/// Requests that may be under way at a time.
const IN_FLIGHT: usize = 512;
/// A request without an answer after so long has failed.
const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
#[command(
    after_help = "It works in a new folder of its own, on free ports of 127.0.0.1, without root, and takes all of it down at its end.

Examples:
  penstock demo                 about a minute
  penstock demo --keep          leave it running, to try orders on it
  penstock demo --plain | tee demo.txt"
)]
pub(crate) struct Demo {
    /// Leave it running at the end, until Ctrl-C, as it does on a terminal
    #[arg(long)]
    keep: bool,
    /// Lines instead of the live picture
    #[arg(long)]
    plain: bool,
    /// Requests a second: 100 to 20000
    #[arg(long, default_value_t = 1300, value_parser = clap::value_parser!(u32).range(100..=20_000))]
    rate: u32,
    /// Where to serve the page: PORT, ADDRESS:PORT or off; 127.0.0.1:9903 when left out, or a free port
    #[arg(long, value_name = "PLACE", value_parser = page::place)]
    page: Option<page::Place>,
}

impl Demo {
    /// Plays it. [`Exit::Refused`] when a claim did not hold.
    pub(crate) fn run(self) -> Result<Exit> {
        let folder = tempfile::Builder::new().prefix("penstock-demo-").tempdir().context("make a folder")?;
        let log = log_in(folder.path());
        log_to(&log)?;
        let runtime =
            tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
        let outcome = runtime.block_on(self.play(folder.path()));
        if outcome.is_err() {
            say(&format!("what happened is written in {}", log_in(&keep(folder)).display()));
        }
        outcome
    }

    async fn play(&self, dir: &Path) -> Result<Exit> {
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let options = Options { dir: dir.to_owned(), keep: false, outside: Outside::default() };
        let listener = page::listen(self.page).await?;
        let shown = listener.as_ref().map(page::address).transpose()?;
        let beside = |view: Arc<LocalView>| page::of_folder(listener, view);
        let mut running = tokio::spawn(run(options, async { _ = stopped.await }, beside));
        // Who ends a demo that was left running has seen its outcome.
        let outcome = tokio::select! {
            biased;
            outcome = self.perform(dir, shown.as_deref()) => outcome,
            () = interrupted() => {
                say("\ninterrupted: taking everything down");
                Ok(Exit::Refused)
            }
            ended = &mut running => {
                ended??;
                bail!("it ended before the demo did")
            }
        };
        let _ = stop.send(());
        running.await??;
        outcome
    }

    async fn perform(&self, dir: &Path, page: Option<&str>) -> Result<Exit> {
        let port = free_port()?;
        let address = format!("http://127.0.0.1:{port}");
        let places = page.map_or_else(|| address.clone(), |page| format!("page {page}  service {address}"));
        let program = std::env::current_exe().context("find this program")?.display().to_string();
        let mut play = Play::new(dir.to_owned(), port, program, Screen::new(self.plain, places, self.rate));
        let first = play.open().await?;
        if !first.as_it_should(None) {
            bail!("the first version did not get ready: see {}", log_in(dir).display());
        }
        let url = address.parse().context("the demo's own address")?;
        let (in_flight, kept) = (IN_FLIGHT, IN_FLIGHT);
        let traffic = Traffic { url, rate: self.rate, in_flight, kept, timeout: TIMEOUT, slow: SLOW };
        let load = Load::start(first.scene.version, traffic);
        let ended = play.releases(&load).await?;
        let account = load.stop().await;
        say(&format!("\n{}", table(&account, &ended)));
        let held = tell(&claims(&account, &first, &ended));
        self.next(dir, &address, page).await;
        Ok(if held { Exit::Good } else { Exit::Refused })
    }

    /// Says what to try next, on what still runs where somebody is there to try it.
    async fn next(&self, dir: &Path, address: &str, page: Option<&str>) {
        if !self.keep && (self.plain || !stdout().is_terminal()) {
            let was = page.map(|page| format!("\nThe page of this demo was at {page}.")).unwrap_or_default();
            say(&format!(
                "{was}\nNext: `make demo ARGS=--keep` leaves it running, with its page, to try orders on it; README.md has \
                 a first Rollout of your own."
            ));
            return;
        }
        let dir = dir.display();
        let page = page
            .map(|page| format!("\nSee it in a browser, and try its buttons: {page}"))
            .unwrap_or_default();
        say(&format!(
            "\nIt runs at {address} until Ctrl-C.{page}\nIn another terminal:
  penstock --dir {dir} get -w
  penstock --dir {dir} retry            # v4 once more
  penstock --dir {dir} abort --reason \"enough\"
  penstock --dir {dir} why checkout
  $EDITOR {dir}/checkout.yaml           # saving is applying"
        ));
        interrupted().await;
    }
}

/// Beside what is Penstock's own, so that no manifest is looked for when a line is written.
fn log_in(dir: &Path) -> PathBuf {
    dir.join(".penstock").join("penstock.log")
}

fn tell(claims: &[Claim]) -> bool {
    let paint = Paint::for_stdout();
    for Claim { text, held } in claims {
        let mark = if *held { paint.ink(Ink::Green, "held") } else { paint.ink(Ink::Red, "NOT HELD") };
        say(&format!("{mark}  {text}"));
    }
    claims.iter().all(|claim| claim.held)
}

/// A port that nobody uses at this moment.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("find a free port on 127.0.0.1")?;
    Ok(listener.local_addr()?.port())
}

/// A folder that is to stay, since something in it has to be read.
fn keep(folder: TempDir) -> PathBuf {
    folder.keep()
}
