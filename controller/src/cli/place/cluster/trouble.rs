//! What a cluster's refusals and silence mean, and what to do.

use std::io;

use kube::Error;
use kube::client::AuthError;
use kube::core::Status;

use crate::cli::called;
use crate::cli::paint::clean;
use crate::cli::place::NotFound;

/// What was being done when it failed.
#[derive(Clone, Debug)]
pub(super) struct Doing<'a> {
    /// Which cluster: `the cluster of context kind-shop`.
    pub(super) cluster: &'a str,
    /// Its address.
    pub(super) address: &'a str,
    /// As RBAC has it: `list`.
    pub(super) verb: &'a str,
    /// The namespace; `None`: all.
    pub(super) namespace: Option<&'a str>,
}

/// How long an API server may take to answer, in seconds.
pub(super) const PATIENCE: u64 = 15;

/// An error in the words of somebody who can do something about it.
pub(super) fn explain(error: &Error, doing: &Doing<'_>) -> anyhow::Error {
    if let Error::Api(status) = error {
        return refused(status, doing);
    }
    if let Error::Auth(error) = error {
        return login(error, doing);
    }
    anyhow::anyhow!("{}", silent(&root(error), doing))
}

/// No answer in time.
pub(super) fn late(doing: &Doing<'_>) -> anyhow::Error {
    anyhow::anyhow!("{}", silent(&format!("no answer within {PATIENCE} s"), doing))
}

fn refused(status: &Status, doing: &Doing<'_>) -> anyhow::Error {
    let Doing { cluster, verb, .. } = doing;
    let said = clean(&status.message);
    match status.code {
        401 => {
            anyhow::anyhow!("{cluster} does not know you: log in again, or name another --context ({said})")
        }
        403 => anyhow::anyhow!("{}", forbidden(&said, doing)),
        404 => NotFound(not_installed(cluster)).into(),
        code => anyhow::anyhow!("can't {verb} Rollouts in {cluster}: it answers {code}: {said}"),
    }
}

fn forbidden(said: &str, doing: &Doing<'_>) -> String {
    let Doing { cluster, verb, namespace, .. } = doing;
    let (place, flag) = match namespace {
        Some(namespace) => (format!("namespace {namespace}"), format!("-n {namespace}")),
        None => ("all namespaces".to_owned(), "--all-namespaces".to_owned()),
    };
    format!(
        "you may not {verb} Rollouts in {place} of {cluster}: ask for that right (`kubectl auth can-i {verb} \
         rollouts.penstock.dev {flag}` checks it); the cluster says: {said}"
    )
}

/// What to do where the kind is not known.
pub(super) fn not_installed(cluster: &str) -> String {
    let me = called::name();
    format!("{cluster} knows no Rollouts: install Penstock there with `{me} install | kubectl apply -f -`")
}

fn login(error: &AuthError, doing: &Doing<'_>) -> anyhow::Error {
    let cluster = doing.cluster;
    let why = if let AuthError::AuthExecRun { status, out, .. } = error {
        let said = clean(&String::from_utf8_lossy(&out.stderr));
        format!("the login command of the kubeconfig ended with {status}: {said}")
    } else {
        clean(&error.to_string())
    };
    anyhow::anyhow!("can't log in to {cluster}: {why}")
}

fn silent(why: &str, doing: &Doing<'_>) -> String {
    let Doing { cluster, address, .. } = doing;
    format!(
        "can't reach {cluster}, {address}: {why}; is it running? Another one is named with --context, a folder \
         with --dir"
    )
}

/// The innermost cause; what the system says, without its number.
fn root(error: &Error) -> String {
    let mut cause: &(dyn std::error::Error + 'static) = error;
    loop {
        if let Some(error) = cause.downcast_ref::<io::Error>() {
            let inner = error.get_ref().map(|inner| clean(&inner.to_string()));
            return inner.unwrap_or_else(|| plain(error));
        }
        match cause.source() {
            Some(inner) => cause = inner,
            None => return clean(&cause.to_string()),
        }
    }
}

fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let plain = text.split(" (os error").next().unwrap_or_default();
    plain.to_lowercase()
}
