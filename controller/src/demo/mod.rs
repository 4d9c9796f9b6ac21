//! `penstock demo`: a good release, one that fails, one that is slow, under steady traffic, measured by that traffic.

pub(crate) mod account;
mod claims;
pub(crate) mod clients;
pub(crate) mod load;
mod play;
mod screen;
mod script;
pub(crate) mod service;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use penstock_driver::local::run::{Options, run};
use tempfile::TempDir;

use crate::cli::Exit;
use crate::cli::local::{interrupted, log_to};
use crate::cli::paint::{Ink, Paint};
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
    /// Leave it running at the end, until Ctrl-C
    #[arg(long)]
    keep: bool,
    /// Lines instead of the live picture
    #[arg(long)]
    plain: bool,
    /// Requests a second: 100 to 20000
    #[arg(long, default_value_t = 1300, value_parser = clap::value_parser!(u32).range(100..=20_000))]
    rate: u32,
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
        let options = Options { dir: dir.to_owned(), keep: false, freezes: Vec::new() };
        let mut running = tokio::spawn(run(options, async { _ = stopped.await }));
        let outcome = tokio::select! {
            outcome = self.perform(dir) => outcome,
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

    async fn perform(&self, dir: &Path) -> Result<Exit> {
        let port = free_port()?;
        let address = format!("http://127.0.0.1:{port}");
        let program = std::env::current_exe().context("find this program")?.display().to_string();
        let mut play =
            Play::new(dir.to_owned(), port, program, Screen::new(self.plain, address.clone(), self.rate));
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
        self.next(dir, &address).await;
        Ok(if held { Exit::Good } else { Exit::Refused })
    }

    /// Says what to try next, on what still runs where it is to be kept.
    async fn next(&self, dir: &Path, address: &str) {
        if !self.keep {
            say(
                "\nNext: `make demo ARGS=--keep` leaves it running, to try orders on it; README.md has a first Rollout of your own.",
            );
            return;
        }
        let dir = dir.display();
        say(&format!(
            "\nIt runs at {address} until Ctrl-C. In another terminal:
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
