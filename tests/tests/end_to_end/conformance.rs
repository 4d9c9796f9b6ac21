//! HTTP/2 as an independent suite wants it: h2spec, its strict cases included.

use std::process::Command;

use penstock_tests::{Backend, Config, Proxy, installed, port};

/// All sections of the suite. Of 3.5, the connection preface, the first case only: the second sends three words that are
/// no preface and wants to hear nothing. On a port that serves HTTP/1 as well they are a bad request, and answered.
const SECTIONS: [&str; 8] =
    ["generic", "hpack", "http2/3.5/1", "http2/4", "http2/5", "http2/6", "http2/7", "http2/8"];
/// As many cases as these sections have.
const CASES: usize = 145;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h2spec_finds_nothing_wrong_in_front_of_an_endpoint() {
    let backend = Backend::start("v1").await.unwrap();
    let config = Config::new(port::free().unwrap(), "").unwrap();
    config.endpoints("v1", &[backend.address()]).unwrap();
    config.split(1, &[("v1", 100)]).unwrap();
    let proxy = Proxy::start(&config, "router").await.unwrap();
    proxy.applies(1).await.unwrap();

    let port = config.apex().port().to_string();
    let mut command = Command::new(installed::program("h2spec", "github.com/summerwind/h2spec").unwrap());
    command.args(SECTIONS).args(["--strict", "--host", "127.0.0.1", "--port", &port]);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.ends_with(&format!("{CASES} tests, {CASES} passed, 0 skipped, 0 failed\n")), "{said}");
    proxy.stop().unwrap();
}
