//! What stands between the proxy and the objects: in words that name the remedy.

use std::error::Error;

use super::kind::Kind;

/// Why a list or a watch ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    /// The version asked for is too old: list again.
    #[error("the version is too old")]
    Expired,
    #[error("the API server answered nothing in time")]
    Silent,
    #[error("the API server sent what is no event")]
    Garbled(#[source] serde_json::Error),
    #[error(transparent)]
    Failed(#[from] kube::Error),
}

impl Trouble {
    /// The server's own word, or a failure on the way to it.
    pub(crate) fn new(error: kube::Error) -> Trouble {
        match code(&error) {
            Some(410) => Trouble::Expired,
            _ => Trouble::Failed(error),
        }
    }

    /// Whether to list again before watching. Also after a word of the server that is not about who asks, or how
    /// often: it may have been set back to an earlier state, and know nothing of the version.
    pub(crate) fn asks_for_a_list(&self) -> bool {
        match self {
            Trouble::Expired | Trouble::Garbled(_) => true,
            Trouble::Silent => false,
            Trouble::Failed(error) => code(error).is_some_and(|code| !matches!(code, 401 | 403 | 429)),
        }
    }

    /// Whether a right is missing. An API server that has just come up says so once without meaning it.
    pub(crate) fn is_denied(&self) -> bool {
        matches!(self, Trouble::Failed(error) if matches!(code(error), Some(401 | 403)))
    }

    /// What is wrong and what to do about it; `None` if nobody has to.
    pub(crate) fn explain(&self, kind: Kind, server: &str, namespace: &str) -> Option<String> {
        let error = match self {
            Trouble::Expired => return None,
            Trouble::Silent => return Some(format!("the API server {server} does not answer")),
            Trouble::Garbled(error) => {
                return Some(format!("the API server {server} sent what is no event: {error}"));
            }
            Trouble::Failed(error) => error,
        };
        let (resource, group) = kind.resource();
        let message = message(error);
        Some(match code(error) {
            Some(401) => format!(
                "the API server {server} does not know who asks (401: {message}); give the pod a ServiceAccount with a \
                 valid token"
            ),
            Some(403) => format!(
                "the right to list and watch {resource} (apiGroups {group:?}) in namespace {namespace} is missing; give it \
                 to the proxy's ServiceAccount with a Role (403: {message})"
            ),
            Some(404) if kind == Kind::Route => format!(
                "the cluster has no {resource}.{group}; install the CRDs of the Gateway API (v1.0 or later, standard \
                 channel)"
            ),
            Some(code) => {
                format!("the API server {server} refuses to list or watch {resource} ({code}: {message})")
            }
            None => format!("the API server {server} can't be reached: {message}"),
        })
    }
}

fn code(error: &kube::Error) -> Option<u16> {
    if let kube::Error::Api(status) = error { Some(status.code) } else { None }
}

/// The innermost cause: what is around it says the same in other words.
fn message(error: &kube::Error) -> String {
    let text = if let kube::Error::Api(status) = error { status.message.clone() } else { innermost(error) };
    let mut text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = text.char_indices().nth(300) {
        text.truncate(end);
        text.push('…');
    }
    text
}

fn innermost(error: &dyn Error) -> String {
    error.source().map_or_else(|| error.to_string(), innermost)
}
