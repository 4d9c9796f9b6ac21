//! Colours, bars and ages.

use std::env;
use std::io::{IsTerminal, Write, stderr, stdout};
use std::sync::{Mutex, PoisonError};

use penstock_core::time::Time;
use penstock_crds::{Phase, Role, Verdict};

use super::{called, screen};

pub(crate) use penstock_crds::words::clean;

/// Whether there are colours.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Paint {
    color: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Ink {
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
    Blue,
}

impl Paint {
    /// Colours on a terminal, unless `NO_COLOR` is set (<https://no-color.org>) or the terminal is dumb.
    pub(crate) fn for_stdout() -> Paint {
        let refused = env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        let dumb = env::var_os("TERM").is_some_and(|t| t == "dumb");
        Paint { color: stdout().is_terminal() && !refused && !dumb }
    }

    #[cfg(test)]
    pub(crate) fn always() -> Paint {
        Paint { color: true }
    }

    pub(crate) fn ink(self, ink: Ink, text: &str) -> String {
        let code = match ink {
            Ink::Bold => 1,
            Ink::Dim => 2,
            Ink::Red => 31,
            Ink::Green => 32,
            Ink::Yellow => 33,
            Ink::Blue => 36,
        };
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(crate) fn phase(self, phase: Phase) -> String {
        let ink = match phase {
            Phase::Stable => Ink::Green,
            Phase::Deploying | Phase::Progressing => Ink::Blue,
            Phase::Held | Phase::Paused | Phase::Pending | Phase::Unknown => Ink::Yellow,
            Phase::Aborted | Phase::Stalled | Phase::Invalid => Ink::Red,
        };
        self.ink(ink, phase.as_str())
    }

    /// Filled to the next twentieth, but empty only for nothing and full only for all.
    pub(crate) fn bar(self, percent: i32, role: Role) -> String {
        let percent = percent.clamp(0, 100);
        let filled = match percent {
            0 => 0,
            100 => 20,
            _ => ((percent + 2) / 5).clamp(1, 19),
        };
        let filled = usize::try_from(filled).unwrap_or(0);
        let ink = match role {
            Role::Stable => Ink::Green,
            Role::Canary => Ink::Yellow,
            Role::Old => Ink::Dim,
        };
        format!("{}{}", self.ink(ink, &"█".repeat(filled)), self.ink(Ink::Dim, &"░".repeat(20 - filled)))
    }

    /// The word of a verdict, seven characters wide.
    pub(crate) fn verdict(self, verdict: Verdict) -> String {
        match verdict {
            Verdict::Good => self.ink(Ink::Green, "good   "),
            Verdict::Bad => self.ink(Ink::Red, "bad    "),
            Verdict::NoData => self.ink(Ink::Yellow, "no data"),
        }
    }
}

/// How long before `now`, in its largest unit: `4s`, `3m`, `5h`, `9d`.
pub(crate) fn age(now: Time, then: Time) -> String {
    let seconds = now.since(then).as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// On one line, and without what could steer a terminal, with blanks at its ends: they mean something in YAML.
pub(crate) fn clean_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A line of a log for a terminal: colours and tabs pass, and nothing else that could steer it.
pub(crate) fn clean_log(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let colour = rest.strip_prefix("\x1b[").and_then(|inner| {
            let end = inner.find(|c: char| !c.is_ascii_digit() && c != ';')?;
            inner[end..].starts_with('m').then_some(end + 3)
        });
        let taken = colour.unwrap_or(c.len_utf8());
        let passes = colour.is_some() || c == '\t' || !c.is_control();
        out.push_str(if passes { &rest[..taken] } else { " " });
        rest = &rest[taken..];
    }
    out
}

/// To the error output, unless it was said just before: a watch looks again and again. There is nobody left to tell
/// when that fails.
pub(crate) fn complain(text: &str) {
    static SAID: Mutex<String> = Mutex::new(String::new());
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    if *said != text {
        text.clone_into(&mut said);
        let told = format!("{}: {text}", called::name());
        if !screen::note(&told) {
            let _ = writeln!(stderr(), "{told}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_empty_only_for_nothing_and_full_only_for_all() {
        let filled = |percent| Paint::default().bar(percent, Role::Canary).matches('█').count();
        let bars: Vec<_> = [-5, 0, 1, 10, 50, 99, 100, 140].into_iter().map(filled).collect();
        assert_eq!(bars, [0, 0, 1, 2, 10, 19, 20, 20]);
    }
    #[test]
    fn colours_of_a_log_pass_and_nothing_else_that_steers_a_terminal() {
        let line = clean_log("\x1b[1;31mred\x1b[0m\ta\x1b[2Jb\x1b]0;t\x07c");
        assert_eq!(line, "\x1b[1;31mred\x1b[0m\ta [2Jb ]0;t c");
    }
}
