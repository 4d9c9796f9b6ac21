//! The way to a cluster: kubeconfig files as kubectl reads them, or the pod that we run in.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use hyper_util::client::proxy::matcher::Matcher;
use kube::Config;
use kube::config::{Context, KubeConfigOptions, Kubeconfig, KubeconfigError};
use serde_saphyr::{MessageFormatter, UserMessageFormatter};

use crate::cli::paint::clean;
use crate::cli::place::{NotFound, listed, nearest};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// Most names in a message.
const NAMES: usize = 10;

/// What the command line says of the cluster.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) kubeconfig: Option<PathBuf>,
    pub(crate) context: Option<String>,
}

/// The way to a cluster.
pub(crate) struct Found {
    pub(crate) config: Config,
    /// The context; `None`: the cluster of this pod.
    pub(crate) context: Option<String>,
    /// Who the kubeconfig says that we are.
    pub(crate) user: Option<String>,
}

/// Whether there is anything that leads to a cluster.
pub(crate) fn is_known() -> bool {
    match kubeconfig(&Asked::default()) {
        Ok(kubeconfig) => kubeconfig.is_some() || in_pod(),
        // Somebody has written one; what is wrong with it is to be said, not hidden.
        Err(_) => true,
    }
}

/// Finds the way to the cluster that is asked for.
///
/// Errors: [`NotFound`] when there is no such file or context, or nothing at all; a file that can't be understood.
pub(crate) async fn find(asked: &Asked) -> Result<Found> {
    match kubeconfig(asked)? {
        Some(kubeconfig) => by_kubeconfig(kubeconfig, asked.context.as_deref()).await,
        None if asked.context.is_none() && in_pod() => by_pod(),
        None => bail!(NotFound(
            "no cluster is known: KUBECONFIG and ~/.kube/config have no context; name a file with --kubeconfig".into()
        )),
    }
}

fn in_pod() -> bool {
    env::var_os("KUBERNETES_SERVICE_HOST").is_some_and(|host| !host.is_empty())
}

fn by_pod() -> Result<Found> {
    let mut config = Config::incluster().context("use the ServiceAccount of this pod")?;
    limit(&mut config);
    Ok(Found { config, context: None, user: None })
}

async fn by_kubeconfig(kubeconfig: Kubeconfig, asked: Option<&str>) -> Result<Found> {
    let (name, context) = choose(&kubeconfig, asked)?;
    let user = context.user.clone().filter(|user| !user.is_empty());
    let own_proxy = kubeconfig.clusters.iter().find(|cluster| cluster.name == context.cluster);
    let own_proxy = own_proxy.and_then(|named| named.cluster.as_ref()?.proxy_url.clone());
    let options = KubeConfigOptions { context: Some(name.clone()), ..KubeConfigOptions::default() };
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .with_context(|| format!("use the context {name} of the kubeconfig"))?;
    if own_proxy.is_none_or(|proxy| proxy.is_empty()) {
        // As every other program does it, with NO_PROXY.
        config.proxy_url = Matcher::from_env().intercept(&config.cluster_url).map(|i| i.uri().clone());
    }
    limit(&mut config);
    Ok(Found { config, context: Some(name), user })
}

/// A person waits: retries and their end are ours.
fn limit(config: &mut Config) {
    config.connect_timeout = Some(CONNECT);
    config.default_retry = false;
}

/// The context that is asked for, or the current one.
fn choose(kubeconfig: &Kubeconfig, asked: Option<&str>) -> Result<(String, Context)> {
    let names: Vec<String> = kubeconfig.contexts.iter().map(|context| context.name.clone()).collect();
    let current = kubeconfig.current_context.as_deref().filter(|name| !name.is_empty());
    let Some(name) = asked.or(current) else {
        bail!(NotFound(format!(
            "the kubeconfig has no current context: name one with --context; there are {}",
            listed(&names, NAMES)
        )));
    };
    let found = kubeconfig.contexts.iter().find(|context| context.name == name);
    if let Some(context) = found.and_then(|named| named.context.clone()) {
        return Ok((name.to_owned(), context));
    }
    let meant = nearest(name, names.iter().map(String::as_str));
    let meant = meant.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    bail!(NotFound(format!(
        "the kubeconfig has no context `{name}`; there are {}{meant}",
        listed(&names, NAMES)
    )))
}

/// The files together, the first to name a thing wins; `None` without any context.
fn kubeconfig(asked: &Asked) -> Result<Option<Kubeconfig>> {
    let mut merged = Kubeconfig::default();
    for file in files(asked)? {
        let shown = file.display();
        let read = Kubeconfig::read_from(&file).map_err(|error| unreadable(&file, error))?;
        merged =
            merged.merge(read).with_context(|| format!("put the kubeconfig {shown} beside the others"))?;
    }
    Ok(Some(merged).filter(|kubeconfig| !kubeconfig.contexts.is_empty()))
}

fn unreadable(file: &Path, error: KubeconfigError) -> anyhow::Error {
    let why = if let KubeconfigError::Parse(error) = error {
        // In one line, without the picture of the place.
        UserMessageFormatter.format_message(&error).into_owned()
    } else {
        error.to_string()
    };
    anyhow::anyhow!("can't read the kubeconfig {}: {}", file.display(), clean(&why))
}

/// Of a list in KUBECONFIG, files that are not there are left out, as kubectl does it.
fn files(asked: &Asked) -> Result<Vec<PathBuf>> {
    if let Some(file) = &asked.kubeconfig {
        if !file.exists() {
            bail!(NotFound(format!(
                "there is no kubeconfig {}; name another one with --kubeconfig, or leave it out for that of KUBECONFIG \
                 or ~/.kube/config",
                file.display()
            )));
        }
        return Ok(vec![file.clone()]);
    }
    let mut files: Vec<PathBuf> = match env::var_os("KUBECONFIG").filter(|list| !list.is_empty()) {
        Some(list) => env::split_paths(&list).filter(|file| !file.as_os_str().is_empty()).collect(),
        None => env::home_dir().map(|home| home.join(".kube").join("config")).into_iter().collect(),
    };
    files.retain(|file| file.exists());
    Ok(files)
}
