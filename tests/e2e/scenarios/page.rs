//! The page of a cluster: who has come, what he may, and that an order is his.

use std::net::TcpStream;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use http::{Method, Request};
use penstock_tests::browser::{Browser, key};
use penstock_tests::client::ask;
use penstock_tests::cluster::caller::Caller;
use penstock_tests::cluster::release::{ROLLOUT, Release, steps_that_wait};
use penstock_tests::cluster::runner::Kind;
use penstock_tests::cluster::{Figures, Scenario, Shop, kubectl};
use penstock_tests::server::Server;
use penstock_tests::{PATIENCE, port, wait_until};
use serde_json::{Value, json};

pub(super) fn all() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "page: forged, without rights, and aborted by who may",
            kind: Kind::Beside,
            run: |shop| Box::pin(tokens(shop)),
        },
        Scenario {
            name: "page in a browser: through port-forward, seen and aborted",
            kind: Kind::Seen,
            run: |shop| Box::pin(browsed(shop)),
        },
    ]
}

/// The token of an account of the namespace, with a role or without.
async fn account(shop: &Shop, name: &str, role: Option<&str>) -> Result<String> {
    shop.kubectl(&["create", "serviceaccount", name]).await?;
    if let Some(role) = role {
        let (role, account) =
            (format!("--clusterrole={role}"), format!("--serviceaccount={}:{name}", shop.name));
        shop.kubectl(&["create", "rolebinding", &format!("{name}-of-the-page"), &role, &account]).await?;
    }
    Ok(shop.kubectl(&["create", "token", name]).await?.trim().to_owned())
}

/// The page as somebody sees it.
struct Visitor {
    address: String,
    token: Option<String>,
}

impl Visitor {
    async fn new(shop: &Shop, address: &str, name: &str, role: Option<&str>) -> Result<Visitor> {
        Ok(Visitor { address: address.to_owned(), token: Some(account(shop, name, role).await?) })
    }

    async fn asks(&self, method: Method, path: &str, body: Option<Value>) -> Result<(u16, Value)> {
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if body.is_some() {
            request = request.header("content-type", "application/json").header("x-penstock-order", "1");
        }
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let (status, bytes) = ask(request.body(body.into())?).await?;
        Ok((status, serde_json::from_slice(&bytes).unwrap_or_default()))
    }

    async fn sees(&self, shop: &Shop) -> Result<(u16, Value)> {
        self.asks(Method::GET, &format!("/api/v1/rollouts/{}/{ROLLOUT}", shop.name), None).await
    }

    async fn orders(&self, shop: &Shop, order: &str) -> Result<(u16, Value)> {
        let body = json!({"order": order, "reason": "p99 looks wrong"});
        self.asks(Method::POST, &format!("/api/v1/rollouts/{}/{ROLLOUT}/orders", shop.name), Some(body)).await
    }
}

async fn waits_at_30(shop: &Shop) -> Result<Caller> {
    let waiting = |version: &str| Release::new(version).with_steps(steps_that_wait(&[30, 60]));
    let caller = shop.serves(&waiting("v1")).await?;
    shop.apply(&waiting("v2")).await?;
    shop.is_at(30).await?;
    Ok(caller)
}

async fn tokens(shop: &Shop) -> Result<Figures> {
    let service =
        ["-n", "penstock-system", "get", "service", "penstock-page", "-o", "jsonpath={.spec.clusterIP}"];
    let address = format!("{}:80", kubectl(&service).await?.trim());
    let caller = waits_at_30(shop).await?;
    let oncall = Visitor::new(shop, &address, "oncall", Some("edit")).await?;
    let viewer = Visitor::new(shop, &address, "viewer", Some("view")).await?;
    let stranger = Visitor::new(shop, &address, "stranger", None).await?;
    let nobody = Visitor { address: address.clone(), token: None };
    let forged =
        oncall.token.as_ref().and_then(|token| token.rsplit_once('.')).context("a token has three parts")?;
    let forged = format!("{}.{}", forged.0, forged.1.chars().rev().collect::<String>());
    let forged = Visitor { address, token: Some(forged) };

    for (who, visitor) in [("nobody", &nobody), ("a forged token", &forged)] {
        let (status, told) = visitor.sees(shop).await?;
        ensure!(status == 401, "{who} is answered {status}: {told}");
        ensure!(told["remedy"].as_str().is_some_and(|r| r.contains("kubectl create token")), "{who}: {told}");
        ensure!(visitor.orders(shop, "abort").await?.0 == 401, "{who} may order");
    }
    let (status, told) = stranger.sees(shop).await?;
    ensure!(status == 403 && told["remedy"].to_string().contains("stranger"), "a stranger: {status} {told}");
    ensure!(stranger.asks(Method::GET, "/api/v1/rollouts", None).await?.0 == 403, "a stranger sees a list");
    let (status, told) = viewer.sees(shop).await?;
    ensure!(
        status == 200 && told["weight"] == 30 && told["mayOrder"] == false,
        "who may view: {status} {told}"
    );
    ensure!(viewer.orders(shop, "abort").await?.0 == 403, "who may view gives orders");
    let (_, list) = viewer.asks(Method::GET, "/api/v1/rollouts", None).await?;
    ensure!(list["total"] == 1, "who may view one namespace sees others: {list}");
    shop.is_at(30).await?;

    wait_until("the page shows what the routers count", PATIENCE, async || {
        let (_, told) = oncall.sees(shop).await?;
        let points = told["curve"]["points"].as_array().cloned().unwrap_or_default();
        let both =
            |p: &Value| p["canary"]["rate"].as_f64() > Some(0.0) && p["stable"]["rate"].as_f64() > Some(0.0);
        ensure!(points.iter().any(both), "{} points", points.len());
        Ok(())
    })
    .await?;
    let begun = std::time::Instant::now();
    let (status, told) = oncall.orders(shop, "abort").await?;
    let took = begun.elapsed();
    ensure!(status == 200 && told["followed"] == true, "the abort: {status} {told}");
    let ended = shop.is_aborted().await?;
    let decision = ended.decisions.iter().find(|d| d.what == "Aborted").context("no abort is told")?;
    let name = format!("system:serviceaccount:{}:oncall", shop.name);
    ensure!(decision.who == name && decision.why.contains("p99 looks wrong"), "{decision:?}");
    shop.kubectl(&["delete", "serviceaccount", "oncall"]).await?;
    wait_until("a token of nobody counts no longer", PATIENCE, async || {
        let (status, _) = oncall.sees(shop).await?;
        ensure!(status == 401, "it is answered {status}");
        Ok(())
    })
    .await?;
    shop.ends_well(caller).await?;
    let mut figures = Figures::new();
    figures.say(format!("aborted by {name} in {} ms", took.as_millis()));
    Ok(figures)
}

/// The way of docs/page.md.
async fn browsed(shop: &Shop) -> Result<Figures> {
    let caller = waits_at_30(shop).await?;
    let token = account(shop, "oncall", Some("edit")).await?;
    let port = port::free()?;
    let mut forward = Command::new("kubectl");
    forward.args(["-n", "penstock-system", "port-forward", "svc/penstock-page", &format!("{port}:80")]);
    let mut forward = Server::start("port-forward", &mut forward, &shop.folder.join("port-forward.log"))?;
    wait_until("the port is forwarded", PATIENCE, async || {
        forward.check_alive()?;
        TcpStream::connect(("127.0.0.1", port)).map(drop).context("nobody listens")
    })
    .await?;

    let browser = Browser::open().await?;
    browser.go(&format!("http://127.0.0.1:{port}")).await?;
    browser.shows("#state", "kubectl create token").await?;
    browser.types(&format!("{token}{}", key::ENTER)).await?;
    browser.shows("#place", "oncall").await?;
    browser.shows("#group-person .row", "waits for a person").await?;
    browser.click("a.row").await?;
    browser.shows("#weight", "30 %").await?;
    browser.shows("#chart-rate .now", "canary").await?;
    browser.shows("#pods", "ready").await?;
    browser.click("#order-abort").await?;
    browser.types(&format!("p99 looks wrong{}", key::ENTER)).await?;
    browser.shows("#phase", "Aborted").await?;
    browser.shows("#decisions li.bad", "p99 looks wrong").await?;
    let logged = browser.log().await?;
    // Chromium tells of the refusals before the token, too, and of connections that the forwarding has cut.
    let expected = |line: &str| line.ends_with("401 (Unauthorized)") || line.contains("net::ERR_");
    let trouble: Vec<&str> = logged.lines().filter(|line| !expected(line)).collect();
    ensure!(trouble.is_empty(), "the browser has logged {trouble:?}");

    let ended = shop.is_aborted().await?;
    let decision = ended.decisions.iter().find(|d| d.what == "Aborted").context("no abort is told")?;
    ensure!(decision.who == format!("system:serviceaccount:{}:oncall", shop.name), "{decision:?}");
    shop.ends_well(caller).await?;
    let mut figures = Figures::new();
    figures.say(format!("seen at 30 % and aborted by {}", decision.who));
    Ok(figures)
}
