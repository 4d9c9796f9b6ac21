//! `penstock logs`: what the pods of a revision say.

use std::io::{IsTerminal, Write, stdout};
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use penstock_crds::RolloutStatus;

use super::order::time;
use super::paint::{Ink, Paint, clean_log};
use super::place::{NotFound, Saved, Target, Where};
use super::{Exit, called, complete};

#[derive(Debug, Args)]
#[command(after_help = "\
Without --stable or --revision, the pods of the revision that is released. Each line begins with its pod.

Examples:
  penstock logs checkout -f
  penstock logs checkout --stable --tail 100
  penstock logs checkout -n shop --since 5m -c app")]
pub(super) struct Logs {
    /// The Rollout's name, or NAMESPACE/NAME
    #[arg(value_name = "NAME", add = complete::rollouts())]
    name: String,
    /// Go on, with new pods too, until interrupted
    #[arg(short, long)]
    follow: bool,
    /// The pods of the stable revision
    #[arg(long, conflicts_with = "revision")]
    stable: bool,
    /// The pods of this revision
    #[arg(long, value_name = "REVISION")]
    revision: Option<String>,
    /// The last so many lines of each pod
    #[arg(long, value_name = "LINES", default_value_t = 50)]
    tail: u32,
    /// Only what was said in this time, on a cluster: 30s, 5m
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Duration>,
    /// The container, on a cluster; the first one when left out
    #[arg(short, long, value_name = "NAME")]
    container: Option<String>,
}

/// Which lines of which pods.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) revision: String,
    pub(crate) follow: bool,
    pub(crate) tail: u32,
    pub(crate) since: Option<Duration>,
    pub(crate) container: Option<String>,
}

/// What is done with a line of a pod.
pub(crate) type Say<'a> = &'a mut dyn FnMut(&str, &[u8]) -> Result<()>;

impl Logs {
    pub(super) fn run(self, place: &Where) -> Result<Exit> {
        let target = Target::new(&self.name, place.namespace.as_deref());
        let place = place.place()?;
        let saved = place.find(&target)?;
        let status = saved.rollout.status.clone().unwrap_or_default();
        let wanted = Wanted {
            revision: self.wanted(&saved, &status)?,
            follow: self.follow,
            tail: self.tail,
            since: self.since,
            container: self.container,
        };
        let mut speaker = Speaker::new(saved.name());
        place.logs(&saved, &wanted, &mut |pod, line| speaker.say(pod, line))?;
        Ok(Exit::Good)
    }

    fn wanted(&self, saved: &Saved, status: &RolloutStatus) -> Result<String> {
        if let Some(revision) = &self.revision {
            let known = || status.revisions.iter().map(|known| known.name.as_str());
            let mut meant = known().filter(|name| name.starts_with(revision.as_str()));
            return match (meant.next(), meant.next()) {
                (Some(one), None) => Ok(one.to_owned()),
                (Some(_), Some(_)) => bail!("several revisions begin with `{revision}`: write more of it"),
                (None, _) => {
                    let known: Vec<_> = known().collect();
                    bail!(NotFound(format!("no revision `{revision}`; there are {}", known.join(", "))))
                }
            };
        }
        let meant = if self.stable { &status.stable_revision } else { &status.canary_revision };
        meant.clone().ok_or_else(|| {
            let (me, name) = (called::name(), saved.name());
            NotFound(format!(
                "{name} releases nothing at the moment: `{me} logs {name} --stable` shows what serves"
            ))
            .into()
        })
    }
}

/// Writes lines behind the names of their pods.
struct Speaker {
    /// What all pods begin with.
    common: String,
    paint: Paint,
    terminal: bool,
    pods: Vec<String>,
}

impl Speaker {
    fn new(rollout: &str) -> Speaker {
        let terminal = stdout().is_terminal();
        Speaker { common: format!("{rollout}-"), paint: Paint::for_stdout(), terminal, pods: Vec::new() }
    }

    fn say(&mut self, pod: &str, line: &[u8]) -> Result<()> {
        const INKS: [Ink; 4] = [Ink::Blue, Ink::Yellow, Ink::Green, Ink::Dim];
        let number = self.pods.iter().position(|known| known == pod).unwrap_or_else(|| {
            self.pods.push(pod.to_owned());
            self.pods.len() - 1
        });
        let name = pod.strip_prefix(&self.common).unwrap_or(pod);
        let mut out = stdout().lock();
        write!(out, "{}  ", self.paint.ink(INKS[number % INKS.len()], name))?;
        if self.terminal {
            out.write_all(clean_log(&String::from_utf8_lossy(line)).as_bytes())?;
        } else {
            out.write_all(line)?;
        }
        out.write_all(b"\n")?;
        Ok(out.flush()?)
    }
}
