//! `penstock get`

use std::io::{IsTerminal, Write, stdout};

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::paint::Paint;
use super::place::{Misused, Place, Saved, Scope, Target, Where};
use super::screen::Screen;
use super::show::Past;
use super::{Exit, complete, now, show};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  penstock get                       the Rollouts of a folder, or of the context's namespace
  penstock get checkout -n shop -w   one as it goes on, with pods, weights and verdicts
  penstock get -A -o wide            those of all namespaces")]
pub(super) struct Get {
    /// The Rollout's name, or NAMESPACE/NAME; all Rollouts when left out
    #[arg(value_name = "NAME", add = complete::rollouts())]
    name: Option<String>,
    /// Those of all namespaces
    #[arg(short = 'A', long, conflicts_with = "name")]
    all_namespaces: bool,
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
    /// Names only, as kubectl takes them
    Name,
}

impl Get {
    pub(super) fn run(&self, place: &Where) -> Result<Exit> {
        if self.all_namespaces && place.namespace.is_some() {
            bail!(Misused(
                "--all-namespaces and --namespace contradict each other: leave one out".to_owned()
            ));
        }
        let scope = Scope { namespace: place.namespace.clone(), everywhere: self.all_namespaces };
        let target = self.name.as_deref().map(|name| Target::new(name, place.namespace.as_deref()));
        let place = place.place()?;
        if self.watch {
            return self.watch(place.as_ref(), target.as_ref(), &scope);
        }
        let all = match target {
            Some(target) => vec![place.find(&target)?],
            None => place.all(&scope)?,
        };
        stdout().write_all(self.text(&all, place.as_ref(), &scope, &Past::default())?.as_bytes())?;
        Ok(Exit::Good)
    }

    /// A terminal shows the present, with what was seen so far; everything else gets a block for each change.
    fn watch(&self, place: &dyn Place, target: Option<&Target>, scope: &Scope) -> Result<Exit> {
        let people = matches!(self.output, None | Some(Output::Wide));
        let mut past = Past::default();
        if people && stdout().is_terminal() {
            // What can't be begun is told on the page that people are on.
            let (mut screen, mut seen) = (None, None);
            place.watch(target, scope, &mut |all: Vec<Saved>| {
                all.iter().for_each(|saved| past.take(&saved.rollout));
                let text = self.text(&all, place, scope, &past)?;
                if screen.is_none() {
                    screen = Some(Screen::open()?);
                }
                let heard = seen.as_ref() != Some(&all);
                seen = Some(all);
                screen.iter().try_for_each(|screen: &Screen| screen.draw(&text, heard))
            })?;
            return Ok(Exit::Good);
        }
        let mut seen = None;
        place.watch(target, scope, &mut |all: Vec<Saved>| {
            if seen.as_ref() != Some(&all) {
                all.iter().for_each(|saved| past.take(&saved.rollout));
                stdout().write_all(self.text(&all, place, scope, &past)?.as_bytes())?;
                stdout().flush()?;
                seen = Some(all);
            }
            Ok(())
        })?;
        Ok(Exit::Good)
    }

    fn text(&self, all: &[Saved], place: &dyn Place, scope: &Scope, past: &Past) -> Result<String> {
        let wide = self.output == Some(Output::Wide);
        Ok(match (self.output, all) {
            (Some(Output::Json), _) => format!("{}\n", serde_json::to_string_pretty(&self.objects(all))?),
            (Some(Output::Yaml), _) => serde_saphyr::to_string(&self.objects(all))?,
            (Some(Output::Name), all) => {
                all.iter().map(|saved| format!("rollout.penstock.dev/{}\n", saved.name())).collect()
            }
            (Some(Output::Wide) | None, []) => format!("{}\n", place.empty(scope)),
            (Some(Output::Wide) | None, [one]) => {
                show::live(&one.rollout, past, now(), Paint::for_stdout(), wide)
            }
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
