//! A Kubernetes cluster.

mod answer;
pub(super) mod config;
mod inspect;
mod logs;
mod orders;
mod trouble;
mod watch;

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::{Api, Client, Error};
use penstock_crds::Rollout;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{sleep, timeout};

use crate::cli::called;
use crate::cli::logs::{Say, Wanted};

use super::{Kept, NotFound, Patience, Place, Saved, Scope, Show, Target, Told, Wish, listed, nearest};
use config::{Asked, Found};
use trouble::Doing;

/// Rollouts in one answer of the API server.
const PAGE: u32 = 500;
/// Most names in a message.
const NAMES: usize = 10;
/// How often something that may be asked twice is asked.
const TRIES: u32 = 3;

/// A Kubernetes cluster.
pub(crate) struct Cluster {
    runtime: Runtime,
    client: Client,
    /// For people, as a place: `context kind-shop`.
    name: String,
    /// For people, as an API server: `the cluster of context kind-shop`.
    cluster: String,
    address: String,
    namespace: String,
    user: Option<String>,
}

impl Cluster {
    /// Finds the way to a cluster; nothing is asked of it yet.
    ///
    /// Errors: [`NotFound`] when there is no such file or context; a file that can't be understood; a login that fails.
    pub(crate) fn new(asked: &Asked) -> Result<Cluster> {
        let runtime = Builder::new_current_thread().enable_all().build().context("start the runtime")?;
        let Found { config, context, user } = runtime.block_on(config::find(asked))?;
        let (name, cluster) = match context {
            Some(context) => (format!("context {context}"), format!("the cluster of context {context}")),
            None => ("this cluster".to_owned(), "the cluster of this pod".to_owned()),
        };
        let address = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let namespace = config.default_namespace.clone();
        let doing = Doing { cluster: &cluster, address: &address, verb: "reach", namespace: None };
        let client = {
            let _inside = runtime.enter();
            Client::try_from(config).map_err(|error| trouble::explain(&error, &doing))?
        };
        Ok(Cluster { runtime, client, name, cluster, address, namespace, user })
    }

    /// Waits for what is asked of the cluster.
    pub(crate) fn wait<T>(&self, asked: impl Future<Output = T>) -> T {
        self.runtime.block_on(asked)
    }

    /// What asks the API server.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Its address, for people.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The version of its API server. Errors: no answer, or it does not know us.
    pub(crate) async fn version(&self) -> Result<String> {
        let doing = self.doing("reach", None);
        let answer = patiently(&doing, async || self.client.apiserver_version().await).await?;
        Ok(answer.map_err(|error| trouble::explain(&error, &doing))?.git_version)
    }

    fn doing<'a>(&'a self, verb: &'a str, namespace: Option<&'a str>) -> Doing<'a> {
        Doing { cluster: &self.cluster, address: &self.address, verb, namespace }
    }

    /// Rollouts of a namespace, or of all.
    fn rollouts(&self, namespace: Option<&str>) -> Api<DynamicObject> {
        let kind = ApiResource::erase::<Rollout>(&());
        match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &kind),
            None => Api::all_with(self.client.clone(), &kind),
        }
    }

    pub(crate) fn namespace<'a>(&'a self, scope: &'a Scope) -> Result<Option<&'a str>> {
        if scope.everywhere {
            return Ok(None);
        }
        let namespace = scope.namespace.as_deref().unwrap_or(&self.namespace);
        fit("namespace", namespace)?;
        Ok(Some(namespace))
    }

    pub(crate) async fn list(&self, namespace: Option<&str>) -> Result<Vec<Saved>> {
        let (api, doing) = (self.rollouts(namespace), self.doing("list", namespace));
        let mut all = Vec::new();
        let mut params = ListParams::default().limit(PAGE);
        loop {
            let page = patiently(&doing, async || api.list(&params).await).await?;
            let page = page.map_err(|error| trouble::explain(&error, &doing))?;
            all.extend(page.items.into_iter().map(saved));
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => break,
            }
        }
        all.sort_by(|a, b| (a.namespace(), a.name()).cmp(&(b.namespace(), b.name())));
        Ok(all)
    }

    pub(crate) async fn get(&self, target: &Target) -> Result<Saved> {
        let namespace = target.namespace.as_deref().unwrap_or(&self.namespace);
        fit("namespace", namespace)?;
        fit("name of a Rollout", &target.name)?;
        let (api, doing) = (self.rollouts(Some(namespace)), self.doing("get", Some(namespace)));
        match patiently(&doing, async || api.get(&target.name).await).await? {
            Ok(object) => Ok(saved(object)),
            Err(error) if is_absent(&error) => Err(self.missing(namespace, &target.name).await),
            Err(error) => Err(trouble::explain(&error, &doing)),
        }
    }

    /// Says that there is no such Rollout, and which there are.
    async fn missing(&self, namespace: &str, name: &str) -> anyhow::Error {
        let text = format!("no Rollout `{name}` in namespace {namespace} of {}", self.name);
        let names = |all: Vec<Saved>| all.iter().map(|saved| saved.name().to_owned()).collect();
        let known: Vec<String> = match self.list(Some(namespace)).await {
            Ok(all) => names(all),
            // The kind itself is missing, or we may not look.
            Err(error) if error.is::<NotFound>() => return error,
            Err(_) => return NotFound(text).into(),
        };
        if known.is_empty() {
            return NotFound(format!("{text}: there is none; name another namespace with -n")).into();
        }
        let meant = nearest(name, known.iter().map(String::as_str));
        let meant = meant.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        NotFound(format!("{text}; there are {}{meant}", listed(&known, NAMES))).into()
    }
}

impl Place for Cluster {
    fn all(&self, scope: &Scope) -> Result<Vec<Saved>> {
        self.runtime.block_on(self.list(self.namespace(scope)?))
    }

    fn find(&self, target: &Target) -> Result<Saved> {
        self.runtime.block_on(self.get(target))
    }

    fn watch(&self, target: Option<&Target>, scope: &Scope, show: Show<'_>) -> Result<()> {
        self.runtime.block_on(self.follow(target, scope, show))
    }

    fn give(&self, to: &Saved, wish: Wish, patience: Patience) -> Result<Told> {
        self.runtime.block_on(self.order(to, wish, patience))
    }

    fn kept(&self, of: &Saved) -> Result<Vec<Kept>> {
        self.runtime.block_on(self.kept_revisions(of))
    }

    fn logs(&self, of: &Saved, wanted: &Wanted, say: Say<'_>) -> Result<()> {
        self.runtime.block_on(self.speak(of, wanted, say))
    }

    fn empty(&self, scope: &Scope) -> String {
        let (name, me) = (&self.name, called::name());
        match self.namespace(scope) {
            Ok(Some(namespace)) => {
                format!("no Rollouts in namespace {namespace} of {name}; `{me} get -A` shows all namespaces")
            }
            Ok(None) | Err(_) => format!("no Rollouts in {name}"),
        }
    }
}

/// The object as people see it: without the book-keeping of who wrote which field.
fn saved(mut object: DynamicObject) -> Saved {
    object.metadata.managed_fields = None;
    let mut value = serde_json::to_value(object).unwrap_or_default();
    if let Value::Object(fields) = &mut value {
        // Items of a list come without.
        fields.insert("apiVersion".to_owned(), penstock_crds::API_VERSION.into());
        fields.insert("kind".to_owned(), penstock_crds::KIND.into());
    }
    Saved::new(value)
}

fn is_absent(error: &Error) -> bool {
    matches!(error, Error::Api(status) if status.code == 404)
}

/// What has no place in a path is no name.
fn fit(what: &str, text: &str) -> Result<()> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    if text.len() <= 253 && edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(|&b| inner(b)) {
        return Ok(());
    }
    let text: String = text.chars().take(80).collect();
    bail!("`{text}` is no {what}: expected a-z, 0-9 and -, first and last no -")
}

/// Asks, and again while the server is busy or has stumbled. Only for what may be asked twice.
async fn patiently<T>(
    doing: &Doing<'_>,
    once: impl AsyncFn() -> Result<T, Error>,
) -> Result<Result<T, Error>> {
    let mut tries = 1;
    loop {
        let answer = in_time(doing, once()).await?;
        let Some(pause) = answer.as_ref().err().and_then(busy).filter(|_| tries < TRIES) else {
            return Ok(answer);
        };
        sleep(pause).await;
        tries += 1;
    }
}

async fn in_time<T>(
    doing: &Doing<'_>,
    asked: impl Future<Output = Result<T, Error>>,
) -> Result<Result<T, Error>> {
    let patience = Duration::from_secs(trouble::PATIENCE);
    timeout(patience, asked).await.map_err(|_| trouble::late(doing))
}

/// How long to wait before the next try; `None`: it would not help.
fn busy(error: &Error) -> Option<Duration> {
    let Error::Api(status) = error else { return None };
    match status.code {
        429 => Some(Duration::from_secs(1)),
        500 | 502 | 503 | 504 => Some(Duration::from_millis(300)),
        _ => None,
    }
}
