//! `penstock-proxy`: splits live traffic between revisions.

use std::io::{IsTerminal, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use penstock_proxy::{AccessLog, Objects, Settings, Traces, Trust, check, run};
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

/// What is logged unless RUST_LOG says otherwise. The client of the API server is silent: what it says is told in
/// words of our own.
const LOG: &str = "info,kube_client=off";

const EXAMPLES: &str = "\
Examples:
  penstock-proxy run --config proxy/examples/split
  penstock-proxy run --config /etc/penstock --listen-address 0.0.0.0 --admin 0.0.0.0:9901
  penstock-proxy run --kube
  penstock-proxy check --config /etc/penstock

Exit codes: 0 all is well, 1 it can't run or the check has found problems, 2 the command line is wrong.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves what the files in a folder, or the objects in a namespace of a cluster, say, and follows their changes.
    #[command(after_help = "\
Example:
  penstock-proxy run --config proxy/examples/split
  curl http://127.0.0.1:8080/          # 90 % from one address, 10 % from the other
  curl http://127.0.0.1:9901/status    # what is in effect
  curl http://127.0.0.1:9901/metrics   # what happened, by revision

In a pod, --kube reads HTTPRoutes with the label penstock.dev/rollout, EndpointSlices and Services of its own namespace.
Outside of one, it takes the cluster and the namespace of the kubeconfig.

With --handover FILE, a proxy that is started while another one runs with the same FILE takes its place: as soon as it
serves, the other one accepts no more, lets its clients go and ends.

SIGHUP reads everything again; SIGTERM and SIGINT drain, a second one exits at once.")]
    Run(Box<Run>),
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
    #[arg(long, value_name = "DIR", required_unless_present = "kube", conflicts_with = "kube")]
    config: Option<PathBuf>,
    /// Read objects from the API server of a cluster instead, and watch them there.
    #[arg(long)]
    kube: bool,
    /// The namespace to watch; the pod's own, or the kubeconfig's, if left out.
    #[arg(long, value_name = "NAMESPACE", requires = "kube")]
    namespace: Option<String>,
    /// Where to serve /status, /metrics, /healthz and /readyz; 127.0.0.1:9901 if left out, with --kube port 9901 of
    /// all addresses.
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
    /// Name of this proxy among those of a Rollout; the host's name if left out.
    #[arg(long, value_name = "NAME")]
    instance: Option<String>,
    /// The address to serve Rollouts on; their ports come from their routes. 127.0.0.1 if left out, with --kube all.
    #[arg(long, value_name = "ADDRESS")]
    listen_address: Option<IpAddr>,
    /// Takes the listening sockets over from the proxy that runs with the same file, and leaves them to the next one:
    /// a restart refuses no connection. A Unix socket is made there.
    #[arg(long, value_name = "FILE")]
    handover: Option<PathBuf>,
    /// Threads of the data plane; as many as there are cores if left out.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// How long requests in flight may take once the proxy stops.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    drain_timeout: Duration,
    /// Addresses that EndpointSlices name this proxy by, separated by commas. Once told to stop, it goes on as before as
    /// long as a slice calls one of them ready.
    #[arg(long, value_name = "ADDRESSES", value_delimiter = ',')]
    own_addresses: Vec<IpAddr>,
    /// How long to wait for these slices at most.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    drain_wait: Duration,
    /// How long to go on serving after that, until everybody knows that this proxy goes; 0s if left out, with --kube 5s.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    drain_delay: Option<Duration>,
    /// How long the head of a response may take, where the route has no timeouts.request; 0s: for ever.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    request_timeout: Duration,
    /// Most requests in flight for one Rollout; above it, 503 with Retry-After.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    max_in_flight: u64,
    /// Most connections of clients; further ones get 503 with Retry-After, with HTTP/2 a GOAWAY. Fewer where fewer
    /// files may be open: a quarter of these is left to connections to endpoints.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    max_connections: u32,
    /// How long a client may take to send the head of a request, and to begin the next one.
    #[arg(long, value_name = "DURATION", default_value = "75s", value_parser = duration)]
    head_timeout: Duration,
    /// How long a client may take nothing of its answer (over HTTP/2, less than a piece of 64 KiB), or over HTTP/1 send
    /// nothing of its body while it is answered.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    stall_timeout: Duration,
    /// Longest body of a request, in bytes; a longer one gets 413. As long as it likes if left out.
    #[arg(long, value_name = "BYTES")]
    max_body: Option<u64>,
    /// Clients that are believed what they say of others in X-Forwarded-For, Forwarded and the like: networks separated by
    /// commas, `all`, `none`, or `neighbours`, which are private, loopback and link-local addresses.
    #[arg(long, value_name = "NETWORKS", default_value = "neighbours")]
    trust_forwarded: Trust,
    /// Begin a trace for requests without a traceparent. Samplers behind the proxy follow it: `sampled` has all recorded,
    /// `unsampled` none. Left out, no trace is begun.
    #[arg(long, value_name = "HOW")]
    begin_traces: Option<BeginTraces>,
    /// Which requests to log as lines of JSON on standard output: `off`, `errors` for those that failed by the fault of an
    /// endpoint or of the proxy, or `sampled:N` for these and one in N others.
    #[arg(long, value_name = "WHICH", default_value = "off")]
    access_log: AccessLog,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum BeginTraces {
    Sampled,
    Unsampled,
}

impl From<BeginTraces> for Traces {
    fn from(traces: BeginTraces) -> Traces {
        match traces {
            BeginTraces::Sampled => Traces::Sampled,
            BeginTraces::Unsampled => Traces::Unsampled,
        }
    }
}

const ADMIN_PORT: u16 = 9901;
/// Longer than it takes until no node sends new connections to a pod that goes.
const CLUSTER_DRAIN_DELAY: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    rustls::crypto::ring::default_provider().install_default().ok();
    let result = match Cli::parse().command {
        Command::Run(command) => serve(*command),
        Command::Check { config } => report(&config),
    };
    result.unwrap_or_else(|error| {
        writeln!(std::io::stderr(), "penstock-proxy: {error:#}").ok();
        ExitCode::FAILURE
    })
}

fn serve(command: Run) -> anyhow::Result<ExitCode> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOG));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).init();
    run(&settings(command), |line| drop(writeln!(std::io::stdout(), "{line}")))?;
    Ok(ExitCode::SUCCESS)
}

fn settings(command: Run) -> Settings {
    let everywhere = if command.kube { everywhere() } else { IpAddr::V4(Ipv4Addr::LOCALHOST) };
    let delay = if command.kube { CLUSTER_DRAIN_DELAY } else { Duration::ZERO };
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    Settings {
        handover: command.handover,
        objects: command.config.map_or(Objects::Cluster(command.namespace), Objects::Folder),
        admin: command.admin.unwrap_or(SocketAddr::new(everywhere, ADMIN_PORT)),
        instance: command.instance.unwrap_or_else(host_name),
        listen_address: command.listen_address.unwrap_or(everywhere),
        threads: command.threads.map_or_else(cores, usize::from),
        own_addresses: command.own_addresses,
        drain_wait: command.drain_wait,
        drain_delay: command.drain_delay.unwrap_or(delay),
        drain_timeout: command.drain_timeout,
        request_timeout: command.request_timeout,
        max_in_flight: command.max_in_flight,
        max_connections: usize::try_from(command.max_connections).unwrap_or(usize::MAX),
        head_timeout: command.head_timeout,
        stall_timeout: command.stall_timeout,
        max_body: command.max_body,
        trust: command.trust_forwarded,
        traces: command.begin_traces.map(Traces::from),
        access_log: command.access_log,
    }
}

/// All addresses of both families; of IPv4 alone where there is no IPv6.
fn everywhere() -> IpAddr {
    let both = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    if TcpListener::bind((both, 0)).is_ok() { both } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) }
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
