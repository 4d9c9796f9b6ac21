//! `penstock-proxy`: splits live traffic between revisions.

use std::io::{IsTerminal, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use penstock_proxy::{Settings, check, run};
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Splits live traffic between revisions, as HTTPRoutes of the Gateway API say.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  penstock-proxy run --config proxy/examples/split
  penstock-proxy run --config /etc/penstock --listen-address 0.0.0.0 --admin 0.0.0.0:9901
  penstock-proxy check --config /etc/penstock

Exit codes: 0 all is well, 1 it can't run or the check has found problems, 2 the command line is wrong.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves what the files in a folder say, and follows their changes.
    #[command(after_help = "\
Example:
  penstock-proxy run --config proxy/examples/split
  curl http://127.0.0.1:8080/          # 90 % from one address, 10 % from the other
  curl http://127.0.0.1:9901/status    # what is in effect
  curl http://127.0.0.1:9901/metrics   # what happened, by revision

SIGHUP reads the folder again; SIGTERM and SIGINT drain, a second one exits at once.")]
    Run(Run),
    /// Says what is wrong with the files in a folder: file, field and remedy.
    Check {
        /// The folder with HTTPRoutes, EndpointSlices and Services in YAML or JSON.
        #[arg(long, value_name = "DIR")]
        config: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
struct Run {
    /// The folder with HTTPRoutes, EndpointSlices and Services in YAML or JSON; it is watched.
    #[arg(long, value_name = "DIR")]
    config: PathBuf,
    /// Where to serve /status, /metrics, /healthz and /readyz.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9901")]
    admin: SocketAddr,
    /// Name of this proxy among those of a Rollout; the host's name if left out.
    #[arg(long, value_name = "NAME")]
    instance: Option<String>,
    /// The address to serve Rollouts on; their ports come from their routes.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    listen_address: IpAddr,
    /// Threads of the data plane; as many as there are cores if left out.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// How long requests in flight may take once the proxy stops.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    drain_timeout: Duration,
    /// How long to go on serving once told to stop, until everybody knows that this proxy goes.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    drain_delay: Duration,
    /// How long the head of a response may take, where the route has no timeouts.request; 0s: for ever.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    request_timeout: Duration,
    /// Most requests in flight for one Rollout; above it, 503 with Retry-After.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    max_in_flight: u64,
    /// Most connections of clients; further ones wait in the kernel.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    max_connections: u32,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(command) => serve(command),
        Command::Check { config } => report(&config),
    };
    result.unwrap_or_else(|error| {
        writeln!(std::io::stderr(), "penstock-proxy: {error:#}").ok();
        ExitCode::FAILURE
    })
}

fn serve(command: Run) -> anyhow::Result<ExitCode> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).init();
    run(&settings(command), |line| drop(writeln!(std::io::stdout(), "{line}")))?;
    Ok(ExitCode::SUCCESS)
}

fn settings(command: Run) -> Settings {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    Settings {
        config: command.config,
        admin: command.admin,
        instance: command.instance.unwrap_or_else(host_name),
        listen_address: command.listen_address,
        threads: command.threads.map_or_else(cores, usize::from),
        drain_delay: command.drain_delay,
        drain_timeout: command.drain_timeout,
        request_timeout: command.request_timeout,
        max_in_flight: command.max_in_flight,
        max_connections: usize::try_from(command.max_connections).unwrap_or(usize::MAX),
    }
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").or_else(|_| std::env::var("HOSTNAME"));
    name.map_or_else(|_| "penstock-proxy".into(), |name| name.trim().into())
}

fn report(folder: &std::path::Path) -> anyhow::Result<ExitCode> {
    let checked = check(folder)?;
    let mut out = std::io::stdout().lock();
    for rollout in &checked.rollouts {
        writeln!(out, "{rollout}")?;
    }
    for problem in &checked.problems {
        writeln!(out, "problem: {problem}")?;
    }
    let (rollouts, problems) = (checked.rollouts.len(), checked.problems.len());
    writeln!(out, "{rollouts} Rollouts, {problems} problems in {}", folder.display())?;
    Ok(if problems == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn duration(text: &str) -> Result<Duration, String> {
    penstock_proxy::duration(text)
        .ok_or_else(|| "write a number with a unit, for instance 30s, 500ms or 1m30s".into())
}
