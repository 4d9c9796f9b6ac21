//! Runs scenarios, a few at a time, and prints a line for each.

use std::io::Write;
use std::pin::Pin;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures_util::StreamExt;

use super::evidence;
use super::figures::{Figures, seconds};
use super::place::Place;
use super::setup;
use super::shop::Shop;
use crate::browser;

/// Scenarios beside each other: more of them would make two cores slow.
const BESIDE: usize = 3;
/// The longest that a scenario takes, in seconds, unless `PENSTOCK_E2E_LIMIT` says otherwise.
const LIMIT: u64 = 480;

/// What becomes of a scenario.
pub type Outcome<'a> = Pin<Box<dyn Future<Output = Result<Figures>> + 'a>>;

/// One story on a cluster.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// What a person calls it.
    pub name: &'static str,
    /// What else must not happen meanwhile.
    pub kind: Kind,
    /// The story.
    pub run: fn(&Shop) -> Outcome<'_>,
}

/// What a scenario needs for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The whole cluster, and both cores: it comes first, before anything else runs.
    Quiet,
    /// A namespace.
    Beside,
    /// A namespace, and a browser: where there is none it is left out.
    Seen,
    /// A namespace, and no controller but those that it brings: those of the cluster are away meanwhile.
    Apart,
    /// The whole cluster: nothing else runs meanwhile.
    Alone,
    /// The whole cluster, and the node under it, to break: on any other cluster it is left out.
    Node,
    /// The whole cluster, and the machine under it, to fill: on any other cluster it is left out.
    Machine,
}

impl Kind {
    /// Which of the parts it belongs to that `PENSTOCK_E2E_PART` names.
    fn part(self) -> &'static str {
        match self {
            Kind::Quiet | Kind::Beside | Kind::Seen | Kind::Apart => "busy",
            Kind::Alone | Kind::Node => "alone",
            Kind::Machine => "crowd",
        }
    }
}

impl std::fmt::Debug for Scenario {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Scenario")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl Scenario {
    /// Why it can't run here.
    fn lacks(&self, place: &Place) -> Option<String> {
        match self.kind {
            Kind::Quiet | Kind::Beside | Kind::Apart | Kind::Alone => None,
            Kind::Seen => browser::missing()
                .map(|program| format!("{program} is missing: apt-get install chromium chromium-driver")),
            Kind::Node | Kind::Machine if place.node.is_some() => None,
            Kind::Node | Kind::Machine => Some("it breaks or fills a node that is not ours".into()),
        }
    }

    /// Its name in files and namespaces.
    fn slug(&self) -> String {
        let word = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { ' ' };
        let words: String = self.name.chars().map(word).collect();
        let mut slug = words.split_whitespace().collect::<Vec<_>>().join("-");
        slug.truncate(55);
        slug.trim_end_matches('-').to_owned()
    }
}

/// What became of all.
#[derive(Clone, Debug, Default)]
pub struct Total {
    /// How many went as they should.
    pub passed: usize,
    /// Those that didn't, each with why.
    pub failed: Vec<String>,
    /// How many can't run here.
    pub left_out: usize,
}

/// Runs those whose name contains what `ONLY` says; `|` stands between alternatives. `PENSTOCK_E2E_PART`: no others than
/// those of that part.
pub async fn run(place: &Place, scenarios: &[Scenario]) -> Result<Total> {
    let only = std::env::var("ONLY").unwrap_or_default().to_lowercase();
    let beside = std::env::var("PARALLEL").ok().and_then(|number| number.parse().ok()).unwrap_or(BESIDE);
    let named = |s: &&Scenario| only.split('|').any(|words| s.name.to_lowercase().contains(words));
    let part = std::env::var("PENSTOCK_E2E_PART").ok().filter(|part| !part.is_empty());
    let of_part = |s: &&Scenario| part.as_deref().is_none_or(|part| s.kind.part() == part);
    let wanted: Vec<&Scenario> = scenarios.iter().filter(named).filter(of_part).collect();
    let of = |kinds: &[Kind]| wanted.iter().copied().filter(|s| kinds.contains(&s.kind)).collect::<Vec<_>>();
    let (together, apart) = (of(&[Kind::Beside, Kind::Seen]), of(&[Kind::Apart]));
    let alone = of(&[Kind::Alone, Kind::Node, Kind::Machine]);
    let mut total = Total::default();
    for scenario in of(&[Kind::Quiet]) {
        total.count(one(place, *scenario).await);
    }
    let together = total.leave_out(place, together);
    let alone = total.leave_out(place, alone);
    total.count_all(some(place, together, beside).await);
    if !apart.is_empty() {
        setup::dismiss().await.context("send the controllers away")?;
        total.count_all(some(place, apart, beside).await);
        setup::recall().await.context("call the controllers back")?;
    }
    for scenario in alone {
        total.count(one(place, *scenario).await);
    }
    Ok(total)
}

async fn some(place: &Place, scenarios: Vec<&Scenario>, beside: usize) -> Vec<Result<(), String>> {
    let outcomes = futures_util::stream::iter(scenarios).map(|scenario| one(place, *scenario));
    outcomes.buffer_unordered(beside.max(1)).collect().await
}

impl Total {
    /// Those that can run here.
    fn leave_out<'a>(&mut self, place: &Place, mut scenarios: Vec<&'a Scenario>) -> Vec<&'a Scenario> {
        scenarios.retain(|scenario| {
            let Some(why) = scenario.lacks(place) else { return true };
            say(&format!("{}: left out, {why}", scenario.name));
            self.left_out += 1;
            false
        });
        scenarios
    }

    fn count_all(&mut self, outcomes: Vec<Result<(), String>>) {
        outcomes.into_iter().for_each(|outcome| self.count(outcome));
    }

    fn count(&mut self, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => self.passed += 1,
            Err(why) => self.failed.push(why),
        }
    }

    /// What failed and why, and the line that test runners end with.
    pub fn text(&self) -> String {
        let Total { passed, failed, left_out } = self;
        let count = failed.len();
        let (word, mut text) =
            if count == 0 { ("ok", String::new()) } else { ("FAILED", "failures:\n".to_owned()) };
        failed.iter().for_each(|why| text += &format!("{why}\n"));
        text + &format!("test result: {word}. {passed} passed; {count} failed; {left_out} ignored")
    }
}

/// Runs one, and prints its line. Returns what failed, if it didn't go as it should.
async fn one(place: &Place, scenario: Scenario) -> Result<(), String> {
    let begun = Instant::now();
    let told = played(place, scenario).await;
    let time = seconds(begun.elapsed());
    let name = scenario.name;
    match told {
        Ok(figures) => {
            say(&format!("{name}: {}   ok  {time}", figures.line()));
            Ok(())
        }
        Err(Failed { why, evidence }) => {
            say(&format!("{name}: {evidence}{why:#}   FAILED  {time}"));
            Err(format!("{name}: {why:#}"))
        }
    }
}

/// Why a scenario failed.
struct Failed {
    why: anyhow::Error,
    /// Where to look, and what was decided; empty when it could not be played.
    evidence: String,
}

impl From<anyhow::Error> for Failed {
    fn from(why: anyhow::Error) -> Failed {
        Failed { why, evidence: String::new() }
    }
}

async fn played(place: &Place, scenario: Scenario) -> Result<Figures, Failed> {
    let since = k8s_openapi::jiff::Timestamp::now().to_string();
    let shop = Shop::open(place, &scenario.slug()).await.context("open the shop")?;
    let limit = std::env::var("PENSTOCK_E2E_LIMIT").ok().and_then(|seconds| seconds.parse().ok());
    let limit = Duration::from_secs(limit.unwrap_or(LIMIT));
    let told = match tokio::time::timeout(limit, (scenario.run)(&shop)).await {
        Ok(told) => told,
        Err(_) => Err(anyhow::anyhow!("not through after {limit:?}; {}", shop.journal.summary())),
    };
    evidence::keep_journal(&shop)?;
    if told.is_err() {
        evidence::keep_all(&shop, &since).await;
    }
    if !place.keep {
        shop.close().await?;
    }
    let (decisions, folder) = (evidence::decisions(&shop), shop.folder.display().to_string());
    told.map_err(|why| Failed { why, evidence: format!("see {folder}; decisions:\n{decisions}   : ") })
}

/// One line, at once and as a whole.
pub fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).ok();
}
