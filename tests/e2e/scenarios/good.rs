//! Releases as they should be.

use anyhow::{Result, ensure};
use penstock_tests::cluster::figures::seconds;
use penstock_tests::cluster::release::{Release, steps};
use penstock_tests::cluster::runner::Kind;
use penstock_tests::cluster::windows::windows;
use penstock_tests::cluster::{Figures, Scenario, Shop};

/// A request in a thousand may be on the other side at the moment of looking, and one at each end of a window for each
/// of the two routers.
const ENDS: f64 = 4.0;

pub(super) fn all() -> Vec<Scenario> {
    vec![Scenario {
        name: "first deploy and a good release in all steps",
        kind: Kind::Beside,
        run: |shop| Box::pin(good_release(shop)),
    }]
}

async fn good_release(shop: &Shop) -> Result<Figures> {
    let mut figures = Figures::new();
    let release = Release::new("v1").with_steps(steps(&[10, 25, 50, 75], "8s"));
    let caller = shop.caller_at(400).await?;
    let begun = std::time::Instant::now();
    shop.apply(&release).await?;
    shop.is_stable().await?;
    figures.say(format!("first deploy in {}", seconds(begun.elapsed())));
    caller.counts().await?;

    let begun = std::time::Instant::now();
    shop.apply(&release.with_version("v2")).await?;
    shop.is_stable().await?;
    let took = begun.elapsed();
    caller.until("only v2 answers", caller.record().await?.0.len(), |r| r.of("v2") > 100).await?;
    let record = shop.ends_well(caller).await?;

    let windows = windows(&shop.journal.states());
    let weights: Vec<i32> = windows.iter().map(|window| window.weight).collect();
    ensure!(
        weights.starts_with(&[0, 10, 25, 50, 75]) || weights.starts_with(&[10, 25, 50, 75]),
        "the status told of {weights:?}"
    );
    let mut worst: f64 = 0.0;
    for window in windows.iter().filter(|window| (1..100).contains(&window.weight)) {
        let (requests, off) = window.off(&record, "v2");
        ensure!(requests > 1000, "only {requests} requests at {} %", window.weight);
        ensure!(off <= requests as f64 / 1000.0 + ENDS, "{off} of {requests} off at {} %", window.weight);
        worst = worst.max(off / requests as f64 * 1000.0);
    }
    figures.say(format!("release in {}, weights {weights:?}", seconds(took)));
    figures.say(format!("{} of {} requests failed", record.failed(), record.0.len()));
    figures.say(format!("weights off by {worst:.2} in 1,000 at most"));
    Ok(figures)
}
