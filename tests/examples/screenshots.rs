//! Takes the pictures of the documents: the page of real releases, in a real browser.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use penstock_tests::browser::Browser;
use penstock_tests::folder::{Folder, address};
use penstock_tests::world::stands_at;
use penstock_tests::{Manifest, Traffic, port};

/// What is released on it.
struct Shop {
    folder: Folder,
    traffic: Vec<Traffic>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let into = std::env::args().nth(1).unwrap_or_else(|| "docs".to_owned());
    let page = port::free()?;
    let mut shop = Shop { folder: Folder::new()?, traffic: Vec::new() };
    shop.folder.start(&["--page", &page.to_string()])?;
    let browser = Browser::open().await?;
    let at = format!("http://127.0.0.1:{page}");

    let steps = [
        "setWeight: 10",
        "pause: {duration: 8s}",
        "setWeight: 25",
        "pause: {duration: 10m}",
        "setWeight: 50",
        "pause: {duration: 10m}",
    ];
    let checkout = manifest("checkout", &steps)?;
    let payments = manifest("payments", &["setWeight: 20", "pause: {duration: 10m}"])?;
    let cart = manifest("cart", &["setWeight: 50", "pause: {}"])?;
    let search = manifest("search", &["setWeight: 50", "pause: {duration: 1s}"])?;
    for first in [&checkout, &payments, &cart, &search] {
        shop.opens(first).await?;
    }
    // A while of the version before is to be seen, too.
    browser.go(&format!("{at}/r/default/checkout")).await?;
    tokio::time::sleep(Duration::from_secs(12)).await;
    shop.folder.apply(&checkout.with_version("v2"))?;
    shop.folder.apply(&cart.with_version("v2"))?;
    shop.folder.until("cart", "the cart waits for a person", |s| stands_at(s, 50)).await?;
    shop.folder.until("checkout", "the checkout has 25 %", |s| stands_at(s, 25)).await?;
    shop.folder.apply(&payments.with_version("v2").with_env("FAIL_SHARE", 20))?;
    shop.folder
        .until("payments", "the payments are aborted", |s| s.phase == penstock_crds::Phase::Aborted)
        .await?;
    tokio::time::sleep(Duration::from_secs(14)).await;

    let into = Path::new(&into);
    browser.sized(1120, 820).await?;
    browser.shows("#weight", "25 %").await?;
    take(&browser, &into.join("page-release.png"), 1180).await?;
    browser.go(&at).await?;
    browser.shows("#list", "payments").await?;
    take(&browser, &into.join("page-list.png"), 700).await?;
    browser.go(&format!("{at}/r/default/payments")).await?;
    browser.shows("#decisions", "aborted").await?;
    browser.until("its curves are drawn", "return document.querySelector('#chart-errors canvas')").await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    take(&browser, &into.join("page-aborted.png"), 1000).await?;
    browser.sized(390, 844).await?;
    browser.dark(true).await?;
    browser.go(&format!("{at}/r/default/checkout")).await?;
    browser.shows("#weight", "25 %").await?;
    browser.until("its curves are drawn", "return document.querySelector('#chart-errors canvas')").await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    take(&browser, &into.join("page-phone.png"), 844).await
}

fn manifest(name: &str, steps: &[&str]) -> Result<Manifest> {
    let latency = "{name: slow, latency: {quantile: \"0.99\", max: 250ms}}".to_owned();
    let mut manifest = Manifest::new(name, "v1")?.with_steps(steps);
    manifest.metrics.push(latency);
    Ok(manifest)
}

impl Shop {
    async fn opens(&mut self, first: &Manifest) -> Result<()> {
        self.folder.apply(first)?;
        self.folder.rests(first).await?;
        self.traffic.push(Traffic::steady(address(first), 120));
        Ok(())
    }
}

async fn take(browser: &Browser, path: &Path, highest: u64) -> Result<()> {
    let picture = browser.picture(highest).await?;
    std::fs::write(path, STANDARD.decode(picture).context("the picture is no base64")?)
        .with_context(|| format!("write {}", path.display()))
}
