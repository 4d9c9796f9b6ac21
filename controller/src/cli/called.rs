//! By which name the command was called: `penstock`, or `kubectl penstock` as a plugin of kubectl.

use std::env;
use std::path::Path;

use clap::Command;

/// The name to be typed, for usage and advice: `kubectl penstock` where the file is `kubectl-penstock`.
pub(crate) fn name() -> String {
    spoken(&file())
}

/// Whether kubectl called: then a cluster is meant.
pub(crate) fn plugin() -> bool {
    is_plugin(&file())
}

/// The name of the file, which completions of a shell are for.
pub(crate) fn file() -> String {
    let called = env::args_os().next().unwrap_or_default();
    let stem = Path::new(&called).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    if stem.is_empty() { "penstock".to_owned() } else { stem.to_owned() }
}

/// The command line under the name that it was called by, its examples too.
pub(crate) fn named(command: Command) -> Command {
    let name = name();
    examples(command.bin_name(name.clone()), &name)
}

fn examples(mut command: Command, name: &str) -> Command {
    if let Some(help) = command.get_after_help().map(ToString::to_string) {
        command = command.after_help(renamed(&help, name));
    }
    let inside: Vec<String> = command.get_subcommands().map(|c| c.get_name().to_owned()).collect();
    inside.iter().fold(command, |command, inner| command.mut_subcommand(inner, |c| examples(c, name)))
}

/// What is to be typed stands at the beginning of an indented line, or behind a mark.
fn renamed(help: &str, name: &str) -> String {
    let mut text = help.to_owned();
    for before in ["\n  ", "`", "<(", "; ", "| "] {
        text = text.replace(&format!("{before}penstock "), &format!("{before}{name} "));
    }
    text
}

fn is_plugin(stem: &str) -> bool {
    stem.starts_with("kubectl-") || stem.starts_with("kubectl_complete-")
}

/// A plugin's file has - for each blank, and _ for each - of the command.
fn spoken(stem: &str) -> String {
    if is_plugin(stem) { stem.replace('-', " ").replace('_', "-") } else { stem.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_of_kubectl_is_called_as_people_type_it() {
        assert_eq!(spoken("kubectl-penstock"), "kubectl penstock");
        assert_eq!(spoken("penstock"), "penstock");
        assert!(is_plugin("kubectl-penstock") && !is_plugin("penstock"));
    }

    #[test]
    fn examples_have_the_name_that_was_called() {
        let help = "Examples:\n  penstock promote checkout\n  penstock undo a; penstock get\nsee `penstock get`, a penstock";
        let told = "Examples:\n  kubectl penstock promote checkout\n  kubectl penstock undo a; kubectl penstock get\nsee `kubectl penstock get`, a penstock";
        assert_eq!(renamed(help, "kubectl penstock"), told);
    }
}
