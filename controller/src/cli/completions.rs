//! `penstock completions SHELL`, and what the shells, or kubectl, ask then.

use std::env;
use std::ffi::OsString;
use std::io::{Write, stdout};
use std::process::ExitCode;

use clap::{Args, Command, ValueEnum};
use clap_complete::engine::complete;
use clap_complete::env::{Bash, Elvish, EnvCompleter, Fish, Powershell, Zsh};

use super::{Exit, called};

pub(super) const HELP: &str = "\
For instance:
  source <(penstock completions bash)
  penstock completions zsh > \"${fpath[1]}/_penstock\"
  penstock completions fish > ~/.config/fish/completions/penstock.fish

The script asks the command itself, which asks your folder or cluster for names. `kubectl penstock` is completed by
kubectl's own script, and a link named kubectl_complete-penstock to this program on your PATH.";

/// The variable by which a shell says that it asks.
pub(super) const ASKED: &str = "PENSTOCK_COMPLETE";
/// The name by which kubectl asks.
const KUBECTL: &str = "kubectl_complete-penstock";
/// What kubectl is told about its offers: no file names beside them.
const NO_FILES: u8 = 4;

#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Elvish,
    Fish,
    Powershell,
    Zsh,
}

impl Completions {
    pub(super) fn run(&self) -> anyhow::Result<Exit> {
        let mut script = Vec::new();
        let file = called::file();
        self.shell.completer().write_registration(ASKED, &file, &file, &file, &mut script)?;
        stdout().write_all(&script)?;
        Ok(Exit::Good)
    }
}

impl Shell {
    fn completer(self) -> &'static dyn EnvCompleter {
        match self {
            Shell::Bash => &Bash,
            Shell::Elvish => &Elvish,
            Shell::Fish => &Fish,
            Shell::Powershell => &Powershell,
            Shell::Zsh => &Zsh,
        }
    }
}

/// Answers kubectl, if it is kubectl that asks: a candidate a line, and a number at the end.
pub(super) fn for_kubectl(command: Command) -> Option<ExitCode> {
    if called::file() != KUBECTL {
        return None;
    }
    let words: Vec<OsString> =
        [OsString::from("kubectl-penstock")].into_iter().chain(env::args_os().skip(1)).collect();
    let offers = offers(command, words);
    let told = stdout().write_all(offers.as_bytes());
    Some(if told.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn offers(mut command: Command, words: Vec<OsString>) -> String {
    let last = words.len().saturating_sub(1);
    let offers = complete(&mut command, words, last, None).unwrap_or_default();
    let mut text = String::new();
    for offer in offers.iter().filter(|offer| !offer.is_hide_set()) {
        let help = offer.get_help().map(|help| format!("\t{help}")).unwrap_or_default();
        text.push_str(&format!("{}{help}\n", offer.get_value().to_string_lossy()));
    }
    text + &format!(":{NO_FILES}\n")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    fn offered(words: &[&str]) -> String {
        let words = ["kubectl-penstock"].iter().chain(words).map(OsString::from).collect();
        offers(Cli::command(), words)
    }

    #[test]
    fn kubectl_is_offered_commands_and_flags_and_told_that_files_make_no_sense() {
        let commands = offered(&["pro"]);
        assert!(commands.starts_with("promote\tGo on") && commands.ends_with(":4\n"), "{commands}");
        assert!(offered(&["promote", "--fu"]).starts_with("--full\t"));
        assert!(!offered(&["demo"]).contains("demo-service"), "what is hidden is not offered");
    }
}
