//! The way to the API server.

use std::time::Duration;

use hyper_util::client::legacy::Client as Hyper;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ConfigExt};
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use kube::{Client, Result};
use tower::{BoxError, ServiceBuilder};

use super::run::{Options, RunError};

/// How long a connection may take to open.
const CONNECT: Duration = Duration::from_secs(3);
/// A watch can be silent for minutes. The kernel asks after so long whether the server is still there, …
const ASK_AFTER: Duration = Duration::from_secs(10);
/// … asks again so often, …
const ASK_EVERY: Duration = Duration::from_secs(5);
/// … and gives up after so long without an answer.
const GIVE_UP: Duration = Duration::from_secs(25);

/// A client of the cluster that the options name.
pub(super) async fn connect(options: &Options) -> Result<Client, RunError> {
    Ok(client(config(options).await?)?)
}

async fn config(options: &Options) -> Result<Config, RunError> {
    let chosen = KubeConfigOptions { context: options.context.clone(), ..KubeConfigOptions::default() };
    let failed = |error: String| RunError::Config(error);
    match &options.kubeconfig {
        Some(path) => {
            let file = Kubeconfig::read_from(path).map_err(|e| failed(e.to_string()))?;
            Config::from_custom_kubeconfig(file, &chosen).await.map_err(|e| failed(e.to_string()))
        }
        None if options.context.is_some() => {
            Config::from_kubeconfig(&chosen).await.map_err(|e| failed(e.to_string()))
        }
        None => Config::infer().await.map_err(|e| failed(e.to_string())),
    }
}

/// Unlike the library's own, it notices a server that is gone without a word, and sends nothing again by itself: what a
/// turn could not write is decided anew, and a server without room is known as such.
fn client(config: Config) -> Result<Client> {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT));
    connector.set_keepalive(Some(ASK_AFTER));
    connector.set_keepalive_interval(Some(ASK_EVERY));
    connector.set_tcp_user_timeout(Some(GIVE_UP));
    let https = config.rustls_https_connector_with_connector(connector)?;
    let hyper: Hyper<_, Body> = Hyper::builder(TokioExecutor::new()).build(https);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(hyper);
    Ok(Client::new(service, config.default_namespace))
}
