//! `penstock local`

use std::fs::File;
use std::io::{IsTerminal, stderr};
use std::path::Path;
use std::sync::Mutex;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use penstock_driver::local::run::{Options, run};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::Exit;
use super::outside::OutsideArgs;
use super::place::{NotFound, Where};
use crate::page;

#[derive(Debug, Args)]
#[command(
    after_help = "Saving a manifest in the folder applies it. Pods are processes started from the container's command, \
args and env; PORT says where each is to listen. Everything of Penstock's own is in DIR/.penstock.

Examples:
  penstock local shop/                 run the Rollouts of a folder
  penstock local shop/ --page 8080     with its page at http://127.0.0.1:8080
  penstock --dir shop get -w           watch them
  penstock --dir shop abort checkout   give an order

RUST_LOG sets how much is said, for instance RUST_LOG=debug."
)]
pub(super) struct Local {
    /// The folder with the manifests; --dir when left out
    #[arg(value_name = "DIR")]
    folder: Option<std::path::PathBuf>,
    /// Leave pods and proxy running at the end; the next `penstock local` adopts them
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    outside: OutsideArgs,
    /// Where to serve the page: PORT, ADDRESS:PORT or off; 127.0.0.1:9903 when left out, or a free port
    #[arg(long, value_name = "PLACE", value_parser = page::place)]
    page: Option<page::Place>,
}

impl Local {
    pub(super) fn run(self, place: &Where) -> Result<Exit> {
        start_log();
        let dir = self.folder.unwrap_or_else(|| place.folder());
        if !dir.is_dir() {
            bail!(NotFound(format!("there is no folder {}: make it, or name another one", dir.display())));
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .context("start the runtime")?;
        let options = Options { dir, keep: self.keep, outside: self.outside.into() };
        runtime.block_on(async {
            let listener = page::listen(self.page).await?;
            if let Some(listener) = &listener {
                tracing::info!(page = page::address(listener)?, "see it in a browser");
            }
            Ok::<_, anyhow::Error>(run(options, interrupted(), |view| page::of_folder(listener, view)).await?)
        })?;
        Ok(Exit::Good)
    }
}

/// Logs go to stderr, with colours on a terminal only.
pub(crate) fn start_log() {
    let log = tracing_subscriber::fmt().with_env_filter(filter()).with_writer(stderr);
    log.with_ansi(stderr().is_terminal()).with_target(false).init();
}

/// Logs go to a file, where the screen is for something else.
pub(crate) fn log_to(path: &Path) -> Result<()> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
    }
    let file = File::create(path).with_context(|| format!("write {}", path.display()))?;
    tracing_subscriber::fmt().with_env_filter(filter()).with_writer(Mutex::new(file)).with_ansi(false).init();
    Ok(())
}

/// What is logged unless RUST_LOG says otherwise. The client of the API server is silent: what fails is told once, with
/// what it means, by whoever has asked.
const LOG: &str = "info,kube_client=off";

fn filter() -> EnvFilter {
    EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOG))
}

/// Ctrl-C or SIGTERM, from this call on. A second one ends the process at once; pods and proxy then go on.
///
/// To be called inside a tokio runtime.
pub(crate) fn interrupted() -> impl Future<Output = ()> {
    let both = signal(SignalKind::interrupt()).and_then(|i| Ok((i, signal(SignalKind::terminate())?)));
    async move {
        let Ok((mut interrupt, mut terminate)) = both else { return std::future::pending().await };
        either(&mut interrupt, &mut terminate).await;
        tokio::spawn(async move {
            either(&mut interrupt, &mut terminate).await;
            std::process::exit(130);
        });
    }
}

async fn either(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
