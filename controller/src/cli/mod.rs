//! The command line, one file per command.

pub(crate) mod called;
mod check;
mod complete;
mod completions;
mod controller;
mod diff;
mod get;
mod history;
mod install;
pub(crate) mod local;
pub(crate) mod logs;
mod order;
mod outside;
pub(crate) mod paint;
pub(crate) mod place;
mod routers;
mod screen;
mod show;
pub(crate) mod store;
mod version;
mod why;

use std::io::{self, ErrorKind};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::CompleteEnv;
use penstock_core::observation::OrderKind;
use penstock_core::time::Time;

use crate::demo;
use place::{Misused, NotFound, Where};

const EXIT_CODES: &str = "\
Exit codes:
  0  it went well
  1  it was refused, it failed, or what was claimed did not hold
  2  the command line can't be understood
  3  there is no such file, folder or Rollout";

/// Releases that ship or roll back by themselves.
#[derive(Debug, Parser)]
#[command(name = "penstock", version, after_help = format!("{}\n\n{EXIT_CODES}", place::HELP))]
#[command(arg_required_else_help = true, max_term_width = 120)]
struct Cli {
    #[command(flatten)]
    place: Where,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the Rollouts of a folder on this machine, without Kubernetes
    Local(local::Local),
    /// Look after the Rollouts of a cluster
    Controller(Box<controller::Controller>),
    /// Print what a cluster needs for Penstock: the definition of Rollouts, rights, the controller
    Install(install::Install),
    /// Show what it does, in about a minute: a good release, one that fails, one that is slow
    Demo(demo::Demo),
    /// Show Rollouts: revisions, pods, weights, the step and the verdicts
    Get(get::Get),
    /// Tell what was decided about a Rollout, why, and by whom
    Why(why::Why),
    /// Show the revisions of a Rollout, what became of them, and by whom
    History(history::History),
    /// Show what a revision changes in the pod template
    Diff(diff::Diff),
    /// Show what the pods of a release say
    Logs(logs::Logs),
    /// Go on to the next step, or with --full to the end
    Promote(order::Promote),
    /// All traffic back to the stable revision, at once
    Abort(order::Order),
    /// Stand still until `resume`
    Pause(order::Order),
    /// End `pause`
    Resume(order::Order),
    /// Try an aborted revision again
    Retry(order::Order),
    /// Go back to an older revision
    Undo(order::Undo),
    /// Check a cluster before and after installing, a Rollout on it, or files without applying them
    Check(check::Check),
    /// Clients of a service, to try a release on: a line about their requests every 5 seconds
    #[command(hide = true)]
    DemoClients(demo::clients::Clients),
    /// The service that the demo releases, as HOST, PORT, REVISION_NAME, FAIL_SHARE, SLOW_SHARE and SLOW_MS say
    #[command(hide = true)]
    DemoService,
    /// Print the version
    Version,
    /// Print a completion script for a shell
    #[command(after_help = completions::HELP)]
    Completions(completions::Completions),
}

impl Command {
    /// Whether it looks at Rollouts, or things, of a namespace. What a person says is never ignored.
    fn knows_namespaces(&self) -> bool {
        self.knows_places() && !matches!(self, Command::Controller(_))
    }

    /// Whether it asks a cluster.
    fn knows_clusters(&self) -> bool {
        self.knows_places() && !matches!(self, Command::Install(_))
    }

    /// Whether it is about a cluster, or a part of one, at all.
    fn knows_places(&self) -> bool {
        !matches!(
            self,
            Command::Local(_)
                | Command::Demo(_)
                | Command::DemoClients(_)
                | Command::DemoService
                | Command::Version
                | Command::Completions(_)
        )
    }
}

/// How a command ended, if it did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It went well.
    Good = 0,
    /// It was refused, or what was claimed did not hold.
    Refused = 1,
    /// The command line contradicts itself.
    Misused = 2,
    /// There is no such thing.
    NotFound = 3,
}

pub(crate) fn main() -> ExitCode {
    CompleteEnv::with_factory(Cli::command).var(completions::ASKED).complete();
    if let Some(told) = completions::for_kubectl(Cli::command()) {
        return told;
    }
    let command = called::named(Cli::command());
    let parsed = command.try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches));
    let Cli { place, command } = parsed.unwrap_or_else(|error| error.exit());
    match run(&place, command) {
        Ok(exit) => ExitCode::from(exit as u8),
        Err(error) => failed(&error),
    }
}

fn run(place: &Where, command: Command) -> anyhow::Result<Exit> {
    if place.names_a_cluster() && !command.knows_clusters() {
        let text = "--context and --kubeconfig name a cluster, and this command asks none: leave them out";
        return Err(Misused(text.to_owned()).into());
    }
    if place.namespace.is_some() && !command.knows_namespaces() {
        let text = "this command looks at no single namespace: leave --namespace out";
        return Err(Misused(text.to_owned()).into());
    }
    match command {
        Command::Local(local) => local.run(place),
        Command::Controller(controller) => controller.run(place),
        Command::Install(install) => install.run(),
        Command::Demo(demo) => demo.run(),
        Command::Get(get) => get.run(place),
        Command::Why(why) => why.run(place),
        Command::History(history) => history.run(place),
        Command::Diff(diff) => diff.run(place),
        Command::Logs(logs) => logs.run(place),
        Command::Promote(promote) => promote.run(place),
        Command::Abort(order) => order.run(place, OrderKind::Abort),
        Command::Pause(order) => order.run(place, OrderKind::Pause),
        Command::Resume(order) => order.run(place, OrderKind::Resume),
        Command::Retry(order) => order.run(place, OrderKind::Retry),
        Command::Undo(undo) => undo.run(place),
        Command::Check(check) => check.run(place),
        Command::DemoClients(clients) => clients.run().map(|()| Exit::Good),
        Command::DemoService => crate::demo::service::main().map(|()| Exit::Good),
        Command::Version => version::run(),
        Command::Completions(completions) => completions.run(),
    }
}

/// A reader that has seen enough is no failure: `penstock why checkout | head`.
fn failed(error: &anyhow::Error) -> ExitCode {
    let io =
        |cause: &(dyn std::error::Error + 'static)| cause.downcast_ref::<io::Error>().map(io::Error::kind);
    if error.chain().any(|cause| io(cause) == Some(ErrorKind::BrokenPipe)) {
        return ExitCode::SUCCESS;
    }
    paint::complain(&format!("{error:#}"));
    let exit = match error {
        error if error.is::<NotFound>() => Exit::NotFound,
        error if error.is::<Misused>() => Exit::Misused,
        _ => Exit::Refused,
    };
    ExitCode::from(exit as u8)
}

/// The present.
pub(crate) fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        super::Cli::command().debug_assert();
    }
}
