//! The page in a real browser. Its targets are those of the people on call: see it, stop it, know whether it is true.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends where its world is not as it should be"
)]

use penstock_crds::Phase;
use penstock_tests::browser::key;
use penstock_tests::folder::{Folder, Story};
use penstock_tests::place::Place;
use penstock_tests::world::decisions;
use penstock_tests::{Browser, Manifest, PATIENCE, World, port, wait_until};
use penstock_web::Hosts;
use rustix::process::Signal;
use serde_json::json;

/// Waits for a person at 20 %.
fn by_hand() -> Manifest {
    Manifest::new("checkout", "v1").unwrap().with_steps(&[
        "setWeight: 20",
        "pause: {}",
        "setWeight: 60",
        "pause: {}",
    ])
}

/// Where the page of a folder is.
async fn page(folder: &Folder) -> String {
    let line = folder.says(&["see it in a browser", "page="]).await.unwrap();
    let address = line.split("page=").nth(1).unwrap();
    address
        .trim_matches('"')
        .trim_end_matches('/')
        .split('"')
        .next()
        .unwrap()
        .trim_end_matches('/')
        .to_owned()
}

/// A release that stands at 20 % under traffic, and a browser at its page.
async fn at_the_release() -> (World, Browser, String) {
    let mut world = World::serving(by_hand()).await.unwrap();
    let page = page(&world.folder).await;
    let browser = Browser::open().await.unwrap();
    browser.go(&page).await.unwrap();
    browser.shows("#list", "checkout").await.unwrap();
    world.folder.apply(&world.first.with_version("v2")).unwrap();
    browser.shows("#group-person .row", "waits for a person").await.unwrap();
    world.waits_for_a_person(20).await.unwrap();
    browser.click("a.row").await.unwrap();
    browser.shows("#weight", "20 %").await.unwrap();
    (world, browser, page)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_seen_and_aborted_with_the_keyboard_alone() {
    let (mut world, browser, page) = at_the_release().await;
    assert!(
        browser.js("return document.title").await.unwrap().as_str().unwrap().contains("checkout: Paused")
    );
    browser.shows("#chart-errors .now", "limit 1.00 %").await.unwrap();
    browser.shows("#chart-rate .now", "canary").await.unwrap();
    browser
        .until("all curves are drawn", "return document.querySelectorAll('.chart canvas').length === 4")
        .await
        .unwrap();
    browser.shows("#pods", "2 of 2 ready").await.unwrap();
    browser.tabs_to("#order-abort").await.unwrap();
    browser.types(key::ENTER).await.unwrap();
    browser.until("the dialog asks why", "return document.activeElement.id === 'reason'").await.unwrap();
    browser.types(&format!("p99 looks wrong{}", key::ENTER)).await.unwrap();
    browser.shows("#phase", "Aborted").await.unwrap();
    let ended = world.traffic.of("v2");
    browser.shows("#decisions li.bad", "ada aborted").await.unwrap();
    browser.shows("#decisions li.bad", "p99 looks wrong").await.unwrap();
    let status = world.rests().await.unwrap();
    let aborted = &decisions(&status, "Aborted")[0];
    assert_eq!((aborted.who.as_str(), status.phase), ("ada", Phase::Aborted), "{}", Story(&status));
    assert!(aborted.order.is_some() && aborted.why.contains("p99 looks wrong"));
    world.is_answered_by("v1").await.unwrap();
    let late = world.traffic.of("v2") - ended;
    assert!(late < 300, "{late} answers of v2 came after the page had shown its abort");
    // The link to a decision leads to it, also on another day.
    let link = browser.js("return document.querySelector('#decisions li.bad a').href").await.unwrap();
    browser.go(&page).await.unwrap();
    browser.shows("#group-person", "aborted").await.unwrap();
    browser.go(link.as_str().unwrap()).await.unwrap();
    browser.shows("#decisions li.pointed", "p99 looks wrong").await.unwrap();
    assert_eq!(browser.log().await.unwrap(), "");
    world.unharmed().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_order_is_a_button_when_the_machine_would_follow_it() {
    let (mut world, browser, _) = at_the_release().await;
    let offered =
        "return [...document.querySelectorAll('button[data-order]')].map((b) => b.dataset.order).join(' ')";
    assert_eq!(browser.js(offered).await.unwrap(), json!("abort promote promote-full pause undo"));
    browser.click("#order-pause").await.unwrap();
    browser.shows("#message", "paused by ada").await.unwrap();
    // What it says of an order goes away after a while, sooner than a busy machine may come to look.
    let listen = "const told = document.getElementById('told'); window.heard = [];
        new MutationObserver(() => heard.push(told.innerText)).observe(told, { childList: true });";
    browser.js(listen).await.unwrap();
    browser.click("#order-resume").await.unwrap();
    browser.until("the page says so", "return heard.some((text) => text.includes('resumed'))").await.unwrap();
    browser.click("#order-promote").await.unwrap();
    browser.shows("#weight", "60 %").await.unwrap();
    browser.click("#order-promote-full").await.unwrap();
    browser.shows("#dialog", "gets all traffic").await.unwrap();
    browser.types(key::ESCAPE).await.unwrap();
    browser.until("the dialog is gone", "return !document.getElementById('dialog').open").await.unwrap();
    assert!(world.folder.status("checkout").unwrap().canary_revision.is_some(), "nothing was ordered");
    browser.click("#order-promote-full").await.unwrap();
    browser.click("#send").await.unwrap();
    browser.shows("#phase", "Stable").await.unwrap();
    world.rests().await.unwrap();
    world.is_answered_by("v2").await.unwrap();
    browser
        .until("undo alone is left", "return document.querySelectorAll('button[data-order]').length === 1")
        .await
        .unwrap();
    browser.click("#order-undo").await.unwrap();
    browser.click("#send").await.unwrap();
    browser.shows("#weight", "20 %").await.unwrap();
    browser.click("#order-abort").await.unwrap();
    browser.click("#send").await.unwrap();
    browser.shows("#phase", "Aborted").await.unwrap();
    browser.click("#order-retry").await.unwrap();
    browser.click("#send").await.unwrap();
    browser.shows("#decisions", "ada tries").await.unwrap();
    assert_eq!(browser.log().await.unwrap(), "");
    world.unharmed().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_hears_nothing_says_so_and_finds_back() {
    let place = port::free().unwrap().to_string();
    let mut folder = Folder::new().unwrap();
    let first = by_hand();
    folder.apply(&first).unwrap();
    folder.start(&["--page", &place]).unwrap();
    folder.rests(&first).await.unwrap();
    folder.apply(&first.with_version("v2")).unwrap();
    let browser = Browser::open().await.unwrap();
    browser.go(&format!("http://127.0.0.1:{place}/r/default/checkout")).await.unwrap();
    browser.shows("#weight", "20 %").await.unwrap();
    browser.shows("#live", "live").await.unwrap();
    folder.kill().unwrap();
    browser.shows("#live", "connection lost").await.unwrap();
    browser.shows("#lost", "what you see is from before").await.unwrap();
    assert!(browser.text("#weight").await.unwrap().contains("20 %"), "what was known stays");
    folder.start(&["--page", &place]).unwrap();
    browser
        .until("it is live again", "return document.getElementById('live').dataset.state === 'live'")
        .await
        .unwrap();
    browser.until("nothing is lost", "return document.getElementById('lost').hidden").await.unwrap();
    browser.shows("#gone", "what was measured before is not kept").await.unwrap();
    browser
        .until("the share is told all the same", "return document.querySelector('#chart-weight canvas')")
        .await
        .unwrap();
    folder.end(Signal::TERM).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_read_on_a_phone_and_in_the_dark() {
    let (world, browser, page) = at_the_release().await;
    browser.shows("#chart-rate .now", "canary").await.unwrap();
    let wide = "return document.documentElement.scrollWidth > innerWidth";
    for (path, ready) in [("", "#list"), ("/r/default/checkout", "#decisions")] {
        browser.go(&format!("{page}{path}")).await.unwrap();
        for (width, dark) in [(1280, false), (1280, true), (360, false), (360, true)] {
            browser.sized(width, 780).await.unwrap();
            browser.dark(dark).await.unwrap();
            browser.shows(ready, "v").await.ok();
            let what = format!("{path} at {width} px, dark {dark}");
            assert_eq!(
                browser.js(wide).await.unwrap(),
                json!(false),
                "{what}: it has to be scrolled sideways"
            );
            browser.until(&format!("{what}: all can be read"), CONTRAST).await.unwrap();
        }
    }
    // What fingers press is large enough, and what eyes don't see has a name.
    let small = "return [...document.querySelectorAll('button[data-order]')].filter((b) => b.offsetHeight < 40).length";
    assert_eq!(browser.js(small).await.unwrap(), json!(0));
    let nameless = "return [...document.querySelectorAll('button, a, input, section, [role=img]')].filter((e) => \
        !(e.innerText || e.ariaLabel || e.getAttribute('aria-labelledby') || e.labels?.length)).map((e) => e.outerHTML)";
    assert_eq!(browser.js(nameless).await.unwrap(), json!([]));
    world.unharmed().await.unwrap();
}

/// Whether all text stands out from what is behind it by 4.5 to 1, as WCAG asks for.
const CONTRAST: &str = r#"
    const parse = (text) => (text.match(/[\d.]+/g) ?? []).map(Number);
    const light = ([r, g, b]) => [r, g, b].map((c) => c / 255).map((c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, n) => sum + c * [0.2126, 0.7152, 0.0722][n], 0);
    const behind = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c.length === 3 || c[3] === 1) return c; } return [255, 255, 255]; };
    const poor = [...document.body.querySelectorAll('*')].filter((e) => e.offsetParent && [...e.childNodes].some((c) => c.nodeType === 3 && c.data.trim())).filter((e) => {
        const [a, b] = [light(parse(getComputedStyle(e).color)), light(behind(e))];
        return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) < 4.5;
    });
    if (poor.length) console.error(poor.map((e) => e.outerHTML.slice(0, 120)).join('\n'));
    return poor.length === 0;
"#;

/// What only a cluster has, without one: tokens, and people who may not.
#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_right_is_told_what_to_do() {
    let served = Place::default().serve(Hosts::Any, true).await.unwrap();
    let (place, page) = (&served.place, format!("http://{}", served.address));
    place.knows("token-of-ada", "ada", &["*"]);
    place.knows("token-of-bob", "bob", &[]);
    place.knows("token-of-eve", "system:serviceaccount:shop:eve", &["shop"]);
    let browser = Browser::open().await.unwrap();
    browser.go(&page).await.unwrap();
    browser.shows("#state", "kubectl create token").await.unwrap();
    browser.types(&format!("forged{}", key::ENTER)).await.unwrap();
    browser.shows("#state", "is not valid").await.unwrap();
    browser.types(&format!("token-of-bob{}", key::ENTER)).await.unwrap();
    browser.shows("#state", "bob may not see Rollouts").await.unwrap();
    browser.shows("#state", "--user=bob").await.unwrap();
    browser.click("#leave").await.unwrap();
    browser.until("it asks again", "return document.activeElement.id === 'token'").await.unwrap();
    browser.types(&format!("token-of-ada{}", key::ENTER)).await.unwrap();
    browser.shows("#empty", "No releases yet").await.unwrap();
    browser.shows("#place", "ada").await.unwrap();
    let phase = |phase: &str| {
        json!({"metadata": {"name": "checkout", "namespace": "shop"},
               "status": {"phase": phase, "message": "<img src=x onerror=alert(1)>", "stableRevision": "v1"}})
    };
    place.put("shop", "checkout", phase("Stalled"));
    browser.shows("#group-person", "<img src=x onerror=alert(1)>").await.unwrap();
    place.put("shop", "checkout", phase("Stable"));
    browser.shows("#group-rest", "checkout").await.unwrap();
    browser.go(&format!("{page}/r/shop/checkout")).await.unwrap();
    browser.shows("#only-look", "no orders").await.unwrap();
    browser.go(&format!("{page}/r/shop/gone")).await.unwrap();
    browser.shows("#state", "there is no Rollout shop/gone").await.unwrap();
    browser.click("#leave").await.unwrap();
    browser.until("it asks again", "return document.activeElement.id === 'token'").await.unwrap();
    browser.types(&format!("token-of-eve{}", key::ENTER)).await.unwrap();
    browser.shows("#state", "there is no Rollout shop/gone").await.unwrap();
    browser.go(&format!("{page}/")).await.unwrap();
    browser.shows("#group-rest", "checkout").await.unwrap();
    browser.go(&format!("{page}/r/other/cart")).await.unwrap();
    browser.shows("#state", "--serviceaccount=shop:eve").await.unwrap();
    // A token that ends while somebody looks ends the look.
    browser.go(&format!("{page}/")).await.unwrap();
    browser.shows("#live", "live").await.unwrap();
    wait_until("a token that was taken back counts no longer", PATIENCE, async || {
        place.forgets("token-of-eve");
        place.put("shop", "checkout", phase("Paused"));
        let text = browser.text("#state").await?;
        if text.contains("is not valid") { Ok(()) } else { Err(anyhow::anyhow!("{text}")) }
    })
    .await
    .unwrap();
}
