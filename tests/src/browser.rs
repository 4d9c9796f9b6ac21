//! A real Chromium, led by its driver (WebDriver, <https://www.w3.org/TR/webdriver2/>).

use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::server::Server;
use crate::{PATIENCE, port, wait_until};

/// Key codes as WebDriver writes them.
pub mod key {
    /// To the next thing that can be operated.
    pub const TAB: &str = "\u{e004}";
    /// Operates it.
    pub const ENTER: &str = "\u{e007}";
    /// Down in a list.
    pub const DOWN: &str = "\u{e015}";
    /// Out of a dialog.
    pub const ESCAPE: &str = "\u{e00c}";
}

const FLAGS: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
];

/// The program without which there is no browser here.
pub fn missing() -> Option<&'static str> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = |program: &&str| std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    ["chromium", "chromedriver"].into_iter().find(|program| !is_there(program))
}

/// A browser with one window and a profile of its own.
#[derive(Debug)]
pub struct Browser {
    base: String,
    client: Client<HttpConnector, Full<Bytes>>,
    logged: Mutex<Vec<String>>,
    _driver: Server,
    _profile: TempDir,
}

impl Browser {
    /// Opens one.
    ///
    /// Errors: Chromium or its driver is missing: `apt-get install chromium chromium-driver`.
    pub async fn open() -> Result<Browser> {
        let profile = tempfile::tempdir()?;
        let port = port::free()?;
        let mut command = Command::new("chromedriver");
        command.arg(format!("--port={port}")).env("HOME", profile.path()).env("TMPDIR", profile.path());
        let driver = Server::start("chromedriver", &mut command, &profile.path().join("driver.log"))
            .context("apt-get install chromium chromium-driver")?;
        let client = Client::builder(TokioExecutor::new()).build_http();
        let root = format!("http://127.0.0.1:{port}");
        let logged = Mutex::default();
        let mut browser = Browser { base: root.clone(), client, logged, _driver: driver, _profile: profile };
        wait_until("the browser's driver listens", PATIENCE, async || {
            browser.ask("GET", "/status", None).await
        })
        .await?;
        let home = browser._profile.path().join("profile");
        let args: Vec<String> = FLAGS
            .map(str::to_owned)
            .into_iter()
            .chain([format!("--user-data-dir={}", home.display())])
            .collect();
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": {"args": args}, "goog:loggingPrefs": {"browser": "ALL"},
        }}});
        let begun = browser.ask("POST", "/session", Some(wanted)).await?;
        let session = begun["sessionId"].as_str().context("the driver opens no session")?;
        browser.base = format!("{root}/session/{session}");
        browser.sized(1280, 900).await?;
        Ok(browser)
    }

    /// Goes to an address.
    pub async fn go(&self, url: &str) -> Result<()> {
        self.ask("POST", "/url", Some(json!({"url": url}))).await.map(drop)
    }

    /// What a script returns.
    pub async fn js(&self, script: &str) -> Result<Value> {
        self.ask("POST", "/execute/sync", Some(json!({"script": script, "args": []}))).await
    }

    /// The text that a person sees of an element; empty when it is not there.
    pub async fn text(&self, css: &str) -> Result<String> {
        let css = serde_json::to_string(css)?;
        let text = self.js(&format!("return document.querySelector({css})?.innerText ?? ''")).await?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    /// Waits until the text of an element has these words.
    pub async fn shows(&self, css: &str, words: &str) -> Result<()> {
        wait_until(&format!("{css} shows `{words}`"), PATIENCE, async || {
            let text = self.text(css).await?;
            if text.contains(words) {
                return Ok(());
            }
            bail!("it shows `{text}`; the page:\n{}\n{}", self.text("body").await?, self.log().await?)
        })
        .await
    }

    /// Waits until a script returns something that is true.
    pub async fn until(&self, what: &str, script: &str) -> Result<()> {
        wait_until(what, PATIENCE, async || match self.js(script).await? {
            Value::Null | Value::Bool(false) => bail!("it is not so; {}", self.log().await?),
            Value::Bool(true) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
                Ok(())
            }
        })
        .await
    }

    /// Clicks where an element is, as soon as it is there.
    pub async fn click(&self, css: &str) -> Result<()> {
        let wanted = json!({"using": "css selector", "value": css});
        wait_until(&format!("{css} can be clicked"), PATIENCE, async || {
            let found = self.ask("POST", "/element", Some(wanted.clone())).await?;
            let id = found.as_object().and_then(|o| o.values().next()).and_then(Value::as_str);
            let id = id.context("no such element")?;
            self.ask("POST", &format!("/element/{id}/click"), Some(json!({}))).await.map(drop)
        })
        .await
    }

    /// Types on the keyboard, wherever the focus is.
    pub async fn types(&self, text: &str) -> Result<()> {
        let press = |c: char| {
            [
                json!({"type": "keyDown", "value": c.to_string()}),
                json!({"type": "keyUp", "value": c.to_string()}),
            ]
        };
        let actions: Vec<Value> = text.chars().flat_map(press).collect();
        let keys = json!({"actions": [{"type": "key", "id": "keys", "actions": actions}]});
        self.ask("POST", "/actions", Some(keys)).await.map(drop)
    }

    /// Presses Tab until the focus is on an element.
    pub async fn tabs_to(&self, css: &str) -> Result<()> {
        let css = serde_json::to_string(css)?;
        for _ in 0..60 {
            if self.js(&format!("return document.activeElement.matches({css})")).await? == json!(true) {
                return Ok(());
            }
            self.types(key::TAB).await?;
        }
        bail!("Tab does not lead to {css}")
    }

    /// A window of this many pixels.
    pub async fn sized(&self, width: u32, height: u32) -> Result<()> {
        let metrics =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await.map(drop)
    }

    /// As a person who prefers dark pages sees it, or light ones.
    pub async fn dark(&self, dark: bool) -> Result<()> {
        let value = if dark { "dark" } else { "light" };
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": value}]});
        self.devtools("Emulation.setEmulatedMedia", media).await.map(drop)
    }

    /// A picture of the whole page as PNG in base64, at most so high.
    pub async fn picture(&self, highest: u64) -> Result<String> {
        let size = self.js("return [innerWidth, document.documentElement.scrollHeight]").await?;
        let height = size[1].as_u64().unwrap_or(highest).min(highest);
        let clip = json!({"x": 0, "y": 0, "width": size[0], "height": height, "scale": 1});
        let taken = self
            .devtools("Page.captureScreenshot", json!({"captureBeyondViewport": true, "clip": clip}))
            .await?;
        Ok(taken["data"].as_str().context("no picture")?.to_owned())
    }

    /// What the page has complained of so far.
    pub async fn log(&self) -> Result<String> {
        // The driver gives out each line once.
        let lines = self.ask("POST", "/se/log", Some(json!({"type": "browser"}))).await?;
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = lines.as_array().into_iter().flatten().filter_map(|line| line["message"].as_str());
        logged.extend(lines.map(str::to_owned));
        Ok(logged.join("\n"))
    }

    async fn devtools(&self, command: &str, params: Value) -> Result<Value> {
        self.ask("POST", "/goog/cdp/execute", Some(json!({"cmd": command, "params": params}))).await
    }

    async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Result<Value> {
        let body = Full::new(body.map(|body| Bytes::from(body.to_string())).unwrap_or_default());
        let request = http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("content-type", "application/json")
            .body(body)?;
        let response = self.client.request(request).await?;
        let status = response.status();
        let bytes = response.into_body().collect().await?.to_bytes();
        let mut told: Value = serde_json::from_slice(&bytes)?;
        if !status.is_success() {
            bail!("{path}: {}", told["value"]["message"].as_str().unwrap_or_default());
        }
        Ok(told["value"].take())
    }
}
