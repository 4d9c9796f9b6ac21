//! Whether a pod is ready: what is asked, and what follows from the answers.

use std::process::Stdio;
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction, Probe as Spec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use rustix::process::{Pid, Signal};
use tokio::net::TcpStream;

use crate::local::process::{self, Start};

/// How the readiness of a pod is found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Probe {
    pub(super) asks: Asks,
    pub(super) delay: Duration,
    pub(super) period: Duration,
    pub(super) timeout: Duration,
    pub(super) successes: u32,
    pub(super) failures: u32,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asks {
    Tcp,
    Http { path: String, headers: Vec<(String, String)> },
    Exec(Vec<String>),
}

/// Answers in a row, and what follows from them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) ready: bool,
    good: u32,
    bad: u32,
}

impl Tally {
    /// Begins with what was known before.
    pub(super) fn new(ready: bool) -> Tally {
        Tally { ready, ..Tally::default() }
    }

    /// Counts an answer. Returns whether the pod is ready.
    pub(super) fn count(&mut self, well: bool, probe: &Probe) -> bool {
        (self.good, self.bad) =
            if well { (self.good.saturating_add(1), 0) } else { (0, self.bad.saturating_add(1)) };
        if self.good >= probe.successes {
            self.ready = true;
        } else if self.bad >= probe.failures {
            self.ready = false;
        }
        self.ready
    }
}

impl Probe {
    /// Time until the next question: short while a young pod comes up, then the period.
    pub(super) fn pause(&self, asked: u32, ready: bool) -> Duration {
        const FIRST: Duration = Duration::from_millis(50);
        let eager = FIRST * 2_u32.saturating_pow(asked.min(10));
        if ready { self.period } else { eager.min(self.period) }
    }

    /// Asks once. Errors: why the pod is not ready, in words.
    pub(super) async fn ask(&self, port: u16, start: &Start) -> Result<(), String> {
        let asked = tokio::time::timeout(self.timeout, self.ask_unbounded(port, start)).await;
        asked.unwrap_or_else(|_| {
            Err(format!("{} had no answer within {:?}", self.question(port), self.timeout))
        })
    }

    async fn ask_unbounded(&self, port: u16, start: &Start) -> Result<(), String> {
        let done = match &self.asks {
            Asks::Tcp => connect(port).await.map(drop),
            Asks::Http { path, headers } => get(port, path, headers).await,
            Asks::Exec(words) => run(words, start).await,
        };
        done.map_err(|why| format!("{} {why}", self.question(port)))
    }

    fn question(&self, port: u16) -> String {
        match &self.asks {
            Asks::Tcp => format!("connecting to 127.0.0.1:{port}"),
            Asks::Http { path, .. } => format!("GET 127.0.0.1:{port}{path}"),
            Asks::Exec(words) => format!("`{}`", words.join(" ")),
        }
    }
}

/// The readiness probe of a container; without one: a connection to its port.
///
/// Errors: what cannot be asked here, in words.
pub(super) fn of(container: &Container) -> Result<Probe, String> {
    let default = Spec::default();
    let spec = container.readiness_probe.as_ref().unwrap_or(&default);
    let seconds = |value: Option<i32>, least: u64| {
        Duration::from_secs(value.and_then(|v| u64::try_from(v).ok()).unwrap_or(least).max(least))
    };
    let times = |value: Option<i32>, default: u32| {
        value.and_then(|v| u32::try_from(v).ok()).unwrap_or(default).max(1)
    };
    Ok(Probe {
        asks: asks(container, spec)?,
        delay: seconds(spec.initial_delay_seconds, 0),
        period: seconds(spec.period_seconds, 1),
        timeout: seconds(spec.timeout_seconds, 1),
        successes: times(spec.success_threshold, 1),
        failures: times(spec.failure_threshold, 3),
    })
}

fn asks(container: &Container, spec: &Spec) -> Result<Asks, String> {
    if spec.grpc.is_some() {
        return Err(format!(
            "container `{}` has a grpc readiness probe, which is not asked in local mode: write tcpSocket or httpGet",
            container.name
        ));
    }
    if let Some(http) = &spec.http_get {
        check_port(container, &http.port)?;
        return get_of(container, http);
    }
    if let Some(tcp) = &spec.tcp_socket {
        check_port(container, &tcp.port)?;
        return Ok(Asks::Tcp);
    }
    let words = spec.exec.as_ref().and_then(|exec| exec.command.clone()).unwrap_or_default();
    Ok(if words.is_empty() { Asks::Tcp } else { Asks::Exec(words) })
}

fn get_of(container: &Container, http: &HTTPGetAction) -> Result<Asks, String> {
    if http.scheme.as_deref().is_some_and(|scheme| !scheme.eq_ignore_ascii_case("http")) {
        return Err(format!(
            "the readiness probe of container `{}` asks by https, which is not done in local mode: write scheme HTTP",
            container.name
        ));
    }
    let path = http.path.clone().unwrap_or_default();
    let path = if path.starts_with('/') { path } else { format!("/{path}") };
    let headers = http.http_headers.iter().flatten().map(|h| (h.name.clone(), h.value.clone())).collect();
    Ok(Asks::Http { path, headers })
}

/// Every port that a container declares is `PORT` here: a pod listens on one.
fn check_port(container: &Container, port: &IntOrString) -> Result<(), String> {
    let declared = container.ports.as_deref().unwrap_or_default();
    let known = match port {
        IntOrString::Int(number) => {
            declared.is_empty() || declared.iter().any(|p| p.container_port == *number)
        }
        IntOrString::String(name) => declared.iter().any(|p| p.name.as_deref() == Some(name)),
    };
    let shown = match port {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(name) => name.clone(),
    };
    if known {
        return Ok(());
    }
    Err(format!(
        "the readiness probe of container `{}` asks port {shown}, which is none of its ports: a pod listens on PORT \
         alone in local mode, so write the containerPort or its name",
        container.name
    ))
}

async fn connect(port: u16) -> Result<TcpStream, String> {
    TcpStream::connect(("127.0.0.1", port)).await.map_err(|error| format!("failed: {error}"))
}

/// A status from 200 to 399 is well, as for a kubelet.
async fn get(port: u16, path: &str, headers: &[(String, String)]) -> Result<(), String> {
    let request = request(port, path, headers).map_err(|error| format!("cannot be asked: {error}"))?;
    let io = TokioIo::new(connect(port).await?);
    let failed = |error: hyper::Error| format!("failed: {error}");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.map_err(failed)?;
    let asked =
        async { sender.send_request(request).await.map(|response| response.status()).map_err(failed) };
    // An answer may come with the connection's end: it is the answer that counts.
    let driven = async {
        let _ = connection.await;
        std::future::pending::<std::convert::Infallible>().await
    };
    let status = tokio::select! {
        status = asked => status?,
        never = driven => match never {},
    };
    if (200..400).contains(&status.as_u16()) { Ok(()) } else { Err(format!("answered {}", status.as_u16())) }
}

fn request(
    port: u16,
    path: &str,
    headers: &[(String, String)],
) -> Result<http::Request<Empty<Bytes>>, http::Error> {
    let mut request =
        http::Request::get(path).header("user-agent", "penstock-probe").header("connection", "close");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        request = request.header("host", format!("127.0.0.1:{port}"));
    }
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request.body(Empty::new())
}

async fn run(words: &[String], start: &Start) -> Result<(), String> {
    let Some((program, args)) = words.split_first() else { return Ok(()) };
    let mut command = tokio::process::Command::new(program);
    command
        .args(args)
        .envs(&start.env)
        .env(process::MARK, process::new_mark("probe"))
        .current_dir(&start.dir);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true);
    let cannot = |error| format!("cannot be run: {error}");
    let mut child = command.spawn().map_err(cannot)?;
    // Before the child is awaited: once that has ended, its number may be another's.
    let group = WholeGroup(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)));
    let status = child.wait().await.map_err(cannot)?;
    group.disarm();
    if status.success() { Ok(()) } else { Err(format!("failed: {status}")) }
}

/// Ends a command that takes too long with all that it started.
struct WholeGroup(Option<Pid>);

impl WholeGroup {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for WholeGroup {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn probe(ports: Value, probe: Value) -> Result<Probe, String> {
        of(&serde_json::from_value(json!({"name": "app", "ports": ports, "readinessProbe": probe})).unwrap())
    }

    #[test]
    fn thresholds_count_answers_in_a_row() {
        let spec = json!({"tcpSocket": {"port": 80}, "successThreshold": 2, "failureThreshold": 3});
        let probe = probe(json!([{"containerPort": 80}]), spec).unwrap();
        let mut tally = Tally::new(false);
        let answers = [true, false, true, true, false, false, true, false, false, false, true];
        let ready: Vec<bool> = answers.into_iter().map(|well| tally.count(well, &probe)).collect();
        assert_eq!(ready, [false, false, false, true, true, true, true, true, true, false, false]);
    }

    #[test]
    fn a_port_is_one_of_the_containers_by_number_or_name() {
        let ports = json!([{"containerPort": 8080, "name": "web"}]);
        for port in [json!(8080), json!("web")] {
            let http = probe(ports.clone(), json!({"httpGet": {"port": port, "path": "healthz"}})).unwrap();
            assert_eq!(http.asks, Asks::Http { path: "/healthz".into(), headers: vec![] });
        }
        for port in [json!(9090), json!("metrics")] {
            let refused = probe(ports.clone(), json!({"httpGet": {"port": port}})).unwrap_err();
            assert!(refused.contains("none of its ports"), "{refused}");
        }
        assert!(probe(json!([]), json!({"httpGet": {"port": 8080}})).is_ok());
    }

    #[test]
    fn a_young_pod_is_asked_often_and_an_old_one_by_its_period() {
        let probe = probe(json!([]), json!({"tcpSocket": {"port": 1}, "periodSeconds": 10})).unwrap();
        assert_eq!(probe.pause(0, false), Duration::from_millis(50));
        assert_eq!(probe.pause(3, false), Duration::from_millis(400));
        assert_eq!(probe.pause(u32::MAX, false), Duration::from_secs(10));
        assert_eq!(probe.pause(0, true), Duration::from_secs(10));
    }
}
