//! What is released: one revision per pod template.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Name of a revision: a short hash of its pod template, for instance `5c6b7d9f`.
///
/// Valid in a Kubernetes name: 1 to 63 characters of `a`–`z`, `0`–`9` and `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Revision(Arc<str>);

/// A name that no revision can have.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is no revision: expected 1 to 63 characters of a-z, 0-9 and -")]
pub struct InvalidRevision(String);

impl Revision {
    /// Takes a name. Errors: [`InvalidRevision`] when it could not stand in a Kubernetes name.
    pub fn new(name: impl Into<String>) -> Result<Revision, InvalidRevision> {
        let name = name.into();
        let fits = (1..=63).contains(&name.len());
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if fits && name.bytes().all(allowed) { Ok(Revision(name.into())) } else { Err(InvalidRevision(name)) }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Revision {
    type Error = InvalidRevision;

    fn try_from(name: String) -> Result<Revision, InvalidRevision> {
        Revision::new(name)
    }
}

impl From<Revision> for String {
    fn from(revision: Revision) -> String {
        revision.as_str().to_owned()
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
