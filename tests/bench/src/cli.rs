//! The command line.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;

use crate::backends::Backends;
use crate::bench::{Bench, Effort, Tools};
use crate::document;
use crate::lines::{Line, soak};
use crate::machine::Machine;
use crate::place::Place;

/// Measures the proxy beside its peers. `tests/bench/run` starts it with all that it needs.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// The proxy's program.
    #[arg(long, global = true, default_value = "target/release/penstock-proxy")]
    penstock: PathBuf,
    /// Envoy's program.
    #[arg(long, global = true, default_value = "envoy")]
    envoy: PathBuf,
    /// Short and coarse.
    #[arg(long, global = true)]
    quick: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The table.
    Proxy {
        /// Only these lines of it.
        #[arg(long, value_enum)]
        only: Vec<Line>,
        /// Where to write it as a page.
        #[arg(long)]
        document: Option<PathBuf>,
    },
    /// Many minutes at 80 % of the highest load, with a reload each second. Fails if a request does, or if memory grows.
    Soak {
        #[arg(long, default_value_t = 30)]
        minutes: u64,
    },
}

/// Runs what the command line says. 0: measured, whatever the figures; 1: it failed, or the soak did; 2: wrong usage;
/// 130: interrupted.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime
        .map_err(Into::into)
        .and_then(|runtime| LocalSet::new().block_on(&runtime, until_interrupted(cli)));
    done.unwrap_or_else(|error| {
        writeln!(std::io::stderr(), "bench: {error:#}").ok();
        ExitCode::FAILURE
    })
}

/// All that was started is stopped when what started it is dropped.
async fn until_interrupted(cli: Cli) -> Result<ExitCode> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        done = run(cli) => done,
        _ = interrupt.recv() => Ok(ExitCode::from(130)),
        _ = terminate.recv() => Ok(ExitCode::from(130)),
    }
}

async fn run(cli: Cli) -> Result<ExitCode> {
    let machine = Machine::prepare()?;
    let tools = Tools::find(cli.penstock, cli.envoy)?;
    let place = Place::new()?;
    let backends = Backends::start(&place, &machine).await?;
    let effort = if cli.quick { Effort::QUICK } else { Effort::FULL };
    let bench = Bench { machine, tools, effort, backends, place };
    match cli.command {
        Command::Proxy { only, document } => table(&bench, &only, document).await,
        Command::Soak { minutes } => soak::run(&bench, minutes).await,
    }
}

async fn table(bench: &Bench, only: &[Line], path: Option<PathBuf>) -> Result<ExitCode> {
    let (mut sections, begun) = (Vec::new(), std::time::Instant::now());
    for line in Line::all().filter(|line| only.is_empty() || only.contains(line)) {
        sections.push(line.measure(bench).await);
    }
    let page = document::page(bench, &sections, begun.elapsed());
    let mut out = std::io::stdout().lock();
    writeln!(out, "{page}")?;
    if let Some(path) = path {
        std::fs::write(&path, page)?;
    }
    Ok(ExitCode::SUCCESS)
}
