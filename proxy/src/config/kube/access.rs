//! The way to the API server.

use std::time::Duration;

use hyper_util::client::legacy::Client as Hyper;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ConfigExt};
use kube::{Client, Config};
use tower::{BoxError, ServiceBuilder};

/// How long a connection may take to open.
const CONNECT: Duration = Duration::from_secs(3);
/// A watch can be silent for minutes. The kernel asks after so long whether the server is still there, …
const ASK_AFTER: Duration = Duration::from_secs(10);
/// … asks again so often, …
const ASK_EVERY: Duration = Duration::from_secs(5);
/// … and gives up after so long without an answer.
const GIVE_UP: Duration = Duration::from_secs(25);

/// Why the API server can't be found.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct ClusterError(#[from] kube::config::InferConfigError);

/// Where the API server is, who asks, and for which namespace.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    pub(crate) server: String,
    pub(crate) namespace: String,
}

impl Access {
    /// Finds the API server by KUBECONFIG, else by the pod's ServiceAccount; the namespace is its own if left out.
    pub(crate) async fn find(namespace: Option<String>) -> Result<Access, ClusterError> {
        let config = Config::infer().await?;
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        Ok(Access { server, namespace: namespace.unwrap_or(config.default_namespace) })
    }

    /// A client with what stands in the files now: certificates and tokens change.
    pub(crate) async fn client(&self) -> kube::Result<Client> {
        let config = Config::infer().await.map_err(kube::Error::InferConfig)?;
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
}
