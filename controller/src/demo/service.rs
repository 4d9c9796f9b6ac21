//! The service that the demo releases. Each answer says which revision gave it; how well it works, its environment says.

use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};

/// Header with the name of the revision that answered.
pub(crate) const REVISION: &str = "x-revision";

/// How long requests under way may take at the end.
const DRAIN: Duration = Duration::from_secs(10);

/// How the service works.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// What it calls itself: `REVISION_NAME`, else `PENSTOCK_REVISION`.
    pub(crate) name: HeaderValue,
    /// Where it listens: `HOST`, 127.0.0.1 when left out.
    pub(crate) host: IpAddr,
    /// And at which port: `PORT`.
    pub(crate) port: u16,
    /// Share of the requests that it answers with 500: `FAIL_SHARE`, 0 to 1.
    pub(crate) fail_share: f64,
    /// Share of the requests that it lets wait: `SLOW_SHARE`, 0 to 1.
    pub(crate) slow_share: f64,
    /// For how long: `SLOW_MS`.
    pub(crate) slow: Duration,
}

/// The hidden command `demo-service`.
pub(crate) fn main() -> Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")?
        .block_on(run())
}

/// Serves as the environment says, until SIGTERM or Ctrl-C; what is under way is finished first.
async fn run() -> Result<()> {
    let settings = Settings::from(|name| std::env::var(name).ok())?;
    let address = SocketAddr::from((settings.host, settings.port));
    let listener = TcpListener::bind(address).await.with_context(|| format!("listen on {address}"))?;
    serve(listener, settings, crate::cli::local::interrupted()).await;
    Ok(())
}

impl Settings {
    /// Reads the settings. Errors: a variable that is missing or no number, by its name.
    pub(crate) fn from(variable: impl Fn(&str) -> Option<String>) -> Result<Settings> {
        let name = variable("REVISION_NAME").or_else(|| variable("PENSTOCK_REVISION"));
        let name = name.unwrap_or_else(|| "unknown".to_owned());
        Ok(Settings {
            name: HeaderValue::from_str(&name).with_context(|| format!("REVISION_NAME is `{name}`"))?,
            host: host(&variable)?,
            port: number(&variable, "PORT", None)?,
            fail_share: share(&variable, "FAIL_SHARE")?,
            slow_share: share(&variable, "SLOW_SHARE")?,
            slow: Duration::from_millis(number(&variable, "SLOW_MS", Some(0))?),
        })
    }
}

/// Serves until `end`, then finishes what is under way.
pub(crate) async fn serve(listener: TcpListener, settings: Settings, end: impl Future<Output = ()>) {
    let settings = Arc::new(settings);
    let graceful = GracefulShutdown::new();
    let mut end = std::pin::pin!(end);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => begin(stream, &settings, &graceful),
                // Out of file descriptors, mostly: others have to end first.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
            () = &mut end => break,
        }
    }
    drop(listener);
    let _ = tokio::time::timeout(DRAIN, graceful.shutdown()).await;
}

fn begin(stream: TcpStream, settings: &Arc<Settings>, graceful: &GracefulShutdown) {
    let _ = stream.set_nodelay(true);
    let settings = Arc::clone(settings);
    let answer = service_fn(move |request: Request<Incoming>| {
        let settings = Arc::clone(&settings);
        async move { Ok::<_, Infallible>(answer(&settings, &request).await) }
    });
    let connection =
        http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), answer);
    // A connection that breaks is the client's affair.
    tokio::spawn(graceful.watch(connection));
}

async fn answer(settings: &Settings, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if request.uri().path() == "/healthz" {
        return response(settings, StatusCode::OK, "ok\n");
    }
    if fastrand::f64() < settings.slow_share {
        tokio::time::sleep(settings.slow).await;
    }
    if fastrand::f64() < settings.fail_share {
        return response(settings, StatusCode::INTERNAL_SERVER_ERROR, "this one went wrong\n");
    }
    response(settings, StatusCode::OK, "hello\n")
}

fn response(settings: &Settings, status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response.headers_mut().insert(REVISION, settings.name.clone());
    response
}

fn share(variable: &impl Fn(&str) -> Option<String>, name: &str) -> Result<f64> {
    let share = number(variable, name, Some(0.0))?;
    if !(0.0..=1.0).contains(&share) {
        bail!("{name} is {share}: write a share from 0 to 1");
    }
    Ok(share)
}

fn host(variable: &impl Fn(&str) -> Option<String>) -> Result<IpAddr> {
    let Some(text) = variable("HOST") else { return Ok(Ipv4Addr::LOCALHOST.into()) };
    text.parse().with_context(|| format!("HOST is `{text}`: write an address, for instance 0.0.0.0"))
}

fn number<T: FromStr>(
    variable: &impl Fn(&str) -> Option<String>,
    name: &str,
    default: Option<T>,
) -> Result<T> {
    match (variable(name), default) {
        (Some(text), _) => text.parse().ok().with_context(|| format!("{name} is `{text}`: write a number")),
        (None, Some(default)) => Ok(default),
        (None, None) => bail!("{name} is missing: write a number"),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::oneshot;
    use tokio::task::JoinHandle;

    pub(crate) fn settings(change: impl FnOnce(&mut Settings)) -> Settings {
        let variable = |name: &str| (name == "REVISION_NAME").then(|| "v9".to_owned());
        let mut settings =
            Settings::from(|name| variable(name).or_else(|| (name == "PORT").then(|| "0".to_owned())))
                .unwrap();
        change(&mut settings);
        settings
    }

    /// The service in this process; it ends when this is dropped.
    pub(crate) struct Running {
        pub(crate) port: u16,
        end: Option<oneshot::Sender<()>>,
        serving: JoinHandle<()>,
    }

    impl Running {
        pub(crate) async fn start(settings: Settings) -> Running {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, settings.port)).await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let (end, ended) = oneshot::channel::<()>();
            let serving = tokio::spawn(serve(listener, settings, async { drop(ended.await) }));
            Running { port, end: Some(end), serving }
        }

        async fn connect(&self) -> TcpStream {
            TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await.unwrap()
        }
    }

    async fn ask(stream: &mut TcpStream, path: &str) {
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
    }

    #[tokio::test]
    async fn what_is_under_way_is_finished_and_nothing_new_begun() {
        let slow = settings(|s| (s.slow_share, s.slow) = (1.0, Duration::from_millis(300)));
        let mut service = Running::start(slow).await;
        let (mut busy, mut idle) = (service.connect().await, service.connect().await);
        ask(&mut idle, "/healthz").await;
        let mut head = [0; 512];
        assert!(idle.read(&mut head).await.unwrap() > 0);
        ask(&mut busy, "/").await;
        // The request has been read when the next one on another connection is answered.
        ask(&mut idle, "/healthz").await;
        assert!(idle.read(&mut head).await.unwrap() > 0);
        drop(service.end.take());
        let mut answer = String::new();
        busy.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("x-revision: v9"), "{answer}");
        assert_eq!(idle.read(&mut head).await.unwrap(), 0);
        service.serving.await.unwrap();
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, service.port)).await.is_err());
    }

    #[test]
    fn settings_that_make_no_sense_are_named() {
        for (name, value) in
            [("FAIL_SHARE", "1.5"), ("SLOW_SHARE", "NaN"), ("SLOW_MS", "1s"), ("PORT", "x"), ("HOST", "here")]
        {
            let variable = |asked: &str| match asked {
                _ if asked == name => Some(value.to_owned()),
                "PORT" => Some("1".to_owned()),
                _ => None,
            };
            let refused = Settings::from(variable).unwrap_err().to_string();
            assert!(refused.contains(name), "{refused}");
        }
        assert!(Settings::from(|_| None).unwrap_err().to_string().contains("PORT is missing"));
    }
}
