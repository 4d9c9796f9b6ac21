//! `penstock completions SHELL`

use std::io::{Write, stdout};

use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

use super::{Exit, called};

pub(super) const HELP: &str = "\
For instance:
  source <(penstock completions bash)
  penstock completions zsh > \"${fpath[1]}/_penstock\"
  penstock completions fish > ~/.config/fish/completions/penstock.fish";

#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub(super) fn run<C: CommandFactory>(&self) -> anyhow::Result<Exit> {
        let mut script = Vec::new();
        generate(self.shell, &mut C::command(), called::file(), &mut script);
        stdout().write_all(&script)?;
        Ok(Exit::Good)
    }
}
