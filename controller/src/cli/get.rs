//! `penstock get`

use std::io::{IsTerminal, Write, stdout};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::paint::Paint;
use super::store::{self, Saved};
use super::{Exit, Place, now, show};

#[derive(Debug, Args)]
pub(super) struct Get {
    /// The Rollout's name, or NAMESPACE/NAME; all Rollouts when left out
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Only the Rollouts of this namespace
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// Show again at every change, until interrupted
    #[arg(short, long)]
    watch: bool,
    /// How to show it
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<Output>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// The objects as JSON
    Json,
    /// The objects as YAML
    Yaml,
    /// More columns and conditions
    Wide,
}

/// How soon a change is seen.
const POLL: Duration = Duration::from_millis(250);

impl Get {
    pub(super) fn run(&self, place: &Place) -> Result<Exit> {
        if self.watch {
            return self.watch(&place.dir);
        }
        let text = self.text(&self.load(&place.dir)?)?;
        stdout().write_all(text.as_bytes())?;
        Ok(Exit::Good)
    }

    fn load(&self, dir: &Path) -> Result<Vec<Saved>> {
        let Some(name) = &self.name else {
            let mut all = store::all(dir)?;
            all.retain(|s| self.namespace.as_deref().is_none_or(|namespace| namespace == s.namespace()));
            return Ok(all);
        };
        Ok(vec![store::find(dir, name, self.namespace.as_deref())?])
    }

    /// A terminal shows the present at its top, and ages go on; everything else gets a block for each change.
    fn watch(&self, dir: &Path) -> Result<Exit> {
        let terminal = stdout().is_terminal() && !matches!(self.output, Some(Output::Json | Output::Yaml));
        let (mut shown, mut seen) = (String::new(), None);
        loop {
            let all = self.load(dir)?;
            let text = self.text(&all)?;
            if terminal && text != shown {
                redraw(&text, shown.is_empty())?;
            } else if !terminal && seen.as_ref() != Some(&all) {
                stdout().write_all(text.as_bytes())?;
                stdout().flush()?;
            }
            (shown, seen) = (text, Some(all));
            sleep(POLL);
        }
    }

    fn text(&self, all: &[Saved]) -> Result<String> {
        let wide = self.output == Some(Output::Wide);
        Ok(match (self.output, all) {
            (Some(Output::Json), _) => format!("{}\n", serde_json::to_string_pretty(&self.objects(all))?),
            (Some(Output::Yaml), _) => serde_saphyr::to_string(&self.objects(all))?,
            (Some(Output::Wide) | None, [one]) => show::tree(&one.rollout, now(), Paint::for_stdout(), wide),
            (Some(Output::Wide) | None, all) => show::table(all, now(), Paint::for_stdout(), wide),
        })
    }

    fn objects(&self, all: &[Saved]) -> Value {
        match (all, &self.name) {
            ([one], Some(_)) => one.object.clone(),
            (all, _) => {
                let items: Vec<_> = all.iter().map(|s| &s.object).collect();
                json!({"apiVersion": "v1", "kind": "List", "items": items})
            }
        }
    }
}

/// From the top left corner over what was there, without flicker.
fn redraw(text: &str, first: bool) -> Result<()> {
    let lines: String = text.lines().map(|line| format!("{line}\x1b[K\n")).collect();
    let clear = if first { "\x1b[2J" } else { "" };
    let mut out = stdout().lock();
    write!(out, "{clear}\x1b[H{lines}\x1b[J")?;
    Ok(out.flush()?)
}
