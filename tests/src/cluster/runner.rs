//! Runs scenarios, a few at a time, and prints a line for each.

use std::io::Write;
use std::pin::Pin;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures_util::StreamExt;

use super::evidence;
use super::figures::{Figures, seconds};
use super::kubectl::kubectl;
use super::place::Place;
use super::setup;
use super::shop::Shop;

/// Scenarios beside each other: more of them would make two cores slow.
const BESIDE: usize = 3;
/// The longest that a scenario takes, in seconds, unless `PENSTOCK_E2E_LIMIT` says otherwise.
const LIMIT: u64 = 300;

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
    /// A namespace.
    Beside,
    /// A namespace, and no controller but those that it brings: those of the cluster are away meanwhile.
    Apart,
    /// The whole cluster: nothing else runs meanwhile.
    Alone,
    /// The whole cluster, and the node under it, to break or to fill: on any other cluster it is left out.
    Node,
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
#[derive(Clone, Copy, Debug, Default)]
pub struct Total {
    /// Those that went as they should.
    pub passed: usize,
    /// Those that didn't.
    pub failed: usize,
    /// Those that can't run here.
    pub left_out: usize,
}

/// Runs those whose name contains what `ONLY` says; `|` stands between alternatives.
pub async fn run(place: &Place, scenarios: &[Scenario]) -> Result<Total> {
    let only = std::env::var("ONLY").unwrap_or_default().to_lowercase();
    let beside = std::env::var("PARALLEL").ok().and_then(|number| number.parse().ok()).unwrap_or(BESIDE);
    let named = |s: &&Scenario| only.split('|').any(|words| s.name.to_lowercase().contains(words));
    let wanted = scenarios.iter().filter(named);
    let (together, others): (Vec<&Scenario>, Vec<&Scenario>) =
        wanted.partition(|scenario| scenario.kind == Kind::Beside);
    let (apart, alone): (Vec<&Scenario>, Vec<&Scenario>) =
        others.into_iter().partition(|scenario| scenario.kind == Kind::Apart);
    let mut total = Total::default();
    total.count_all(some(place, together, beside).await);
    if !apart.is_empty() {
        setup::dismiss().await.context("send the controllers away")?;
        total.count_all(some(place, apart, beside).await);
        setup::recall().await.context("call the controllers back")?;
    }
    for scenario in alone {
        if scenario.kind == Kind::Node && place.node.is_none() {
            say(&format!("{}: left out, it breaks or fills a node that is not ours", scenario.name));
            total.left_out += 1;
        } else {
            total.count(one(place, *scenario).await);
        }
    }
    Ok(total)
}

async fn some(place: &Place, scenarios: Vec<&Scenario>, beside: usize) -> Vec<bool> {
    let outcomes = futures_util::stream::iter(scenarios).map(|scenario| one(place, *scenario));
    outcomes.buffer_unordered(beside.max(1)).collect().await
}

impl Total {
    fn count_all(&mut self, outcomes: Vec<bool>) {
        outcomes.into_iter().for_each(|passed| self.count(passed));
    }

    fn count(&mut self, passed: bool) {
        *(if passed { &mut self.passed } else { &mut self.failed }) += 1;
    }

    /// The line that test runners end with.
    pub fn line(&self) -> String {
        let Total { passed, failed, left_out } = self;
        let word = if *failed == 0 { "ok" } else { "FAILED" };
        format!("test result: {word}. {passed} passed; {failed} failed; {left_out} ignored")
    }
}

/// Runs one, and prints its line. Returns whether it went as it should.
async fn one(place: &Place, scenario: Scenario) -> bool {
    let begun = Instant::now();
    let told = played(place, scenario).await;
    let time = seconds(begun.elapsed());
    match &told {
        Ok(figures) => say(&format!("{}: {}   ok  {time}", scenario.name, figures.line())),
        Err(error) => say(&format!("{}: {error:#}   FAILED  {time}", scenario.name)),
    }
    told.is_ok()
}

async fn played(place: &Place, scenario: Scenario) -> Result<Figures> {
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
        kubectl(&["delete", "namespace", &shop.name, "--wait=false"]).await?;
    }
    let (decisions, folder) = (evidence::decisions(&shop), shop.folder.display().to_string());
    told.map_err(|error| error.context(format!("see {folder}; decisions:\n{decisions}   ")))
}

/// One line, at once and as a whole.
pub fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).ok();
}
