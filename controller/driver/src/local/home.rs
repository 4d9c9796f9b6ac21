//! Where things lie, and what they are called.

use std::fmt;
use std::path::{Path, PathBuf};

use penstock_crds::is_label;

use super::files::{self, FileError};

/// Name of our folder inside the user's.
pub const OWN: &str = ".penstock";

/// The user's folder, and ours inside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    dir: PathBuf,
    own: PathBuf,
}

impl Home {
    /// Opens a folder and makes what is ours in it.
    ///
    /// Errors: [`FileError`] when the folder does not exist or cannot be written.
    pub fn open(dir: &Path) -> Result<Home, FileError> {
        let home = Home::at(dir)?;
        for part in [
            home.proxy(),
            home.state(),
            home.revisions(),
            home.orders(),
            home.logs(),
            home.pods(),
            home.applied(),
        ] {
            files::make_dir(&part)?;
            files::tidy(&part)?;
        }
        files::write(&home.own.join(".gitignore"), b"*\n", files::Care::Quick)?;
        Ok(home)
    }

    /// Names a folder without making anything in it.
    ///
    /// Errors: [`FileError`] when the folder does not exist.
    pub fn at(dir: &Path) -> Result<Home, FileError> {
        let dir = dir.canonicalize().map_err(|source| FileError::new("open the folder", dir, source))?;
        let own = dir.join(OWN);
        Ok(Home { dir, own })
    }

    /// The user's folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Our folder in it.
    pub fn own(&self) -> &Path {
        &self.own
    }

    /// What the proxy reads: HTTPRoutes and EndpointSlices.
    pub fn proxy(&self) -> PathBuf {
        self.own.join("proxy")
    }

    /// Rollouts with their status.
    pub fn state(&self) -> PathBuf {
        self.own.join("state")
    }

    /// Pod templates of the revisions that are kept.
    pub fn revisions(&self) -> PathBuf {
        self.own.join("revisions")
    }

    /// Orders that wait.
    pub fn orders(&self) -> PathBuf {
        self.own.join("orders")
    }

    /// Output of pods and proxy.
    pub fn logs(&self) -> PathBuf {
        self.own.join("logs")
    }

    /// Records of the pods that exist.
    pub fn pods(&self) -> PathBuf {
        self.own.join("pods")
    }

    /// The last good text of each manifest.
    pub fn applied(&self) -> PathBuf {
        self.own.join("applied")
    }
}

/// Name of a Rollout: namespace and name, both fit for a file name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    namespace: String,
    name: String,
}

/// A name that no Rollout can have.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{value}` is no {what}: expected 1 to 63 characters of a-z, 0-9 and -, first and last no -")]
pub struct InvalidKey {
    what: &'static str,
    value: String,
}

impl Key {
    /// Takes a namespace and a name, DNS labels both: a Rollout's name goes into those of Services.
    ///
    /// Errors: [`InvalidKey`] for anything else, so that no name can lead out of a folder.
    pub fn new(namespace: &str, name: &str) -> Result<Key, InvalidKey> {
        if !is_label(namespace) {
            return Err(InvalidKey { what: "namespace", value: shorten(namespace) });
        }
        if !is_label(name) {
            return Err(InvalidKey { what: "name of a Rollout", value: shorten(name) });
        }
        Ok(Key { namespace: namespace.to_owned(), name: name.to_owned() })
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `<namespace>.<name>`, for file names.
    pub fn stem(&self) -> String {
        format!("{}.{}", self.namespace, self.name)
    }

    /// The inverse of [`Key::stem`]; `None` for any other text.
    pub fn from_stem(stem: &str) -> Option<Key> {
        let (namespace, name) = stem.split_once('.')?;
        Key::new(namespace, name).ok()
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_lead_out_of_the_folder() {
        for bad in ["", "..", "../x", "a/b", "-a", "a-", ".a", "a.b", "A", "a\0b"] {
            assert!(Key::new("shop", bad).is_err(), "{bad:?}");
            assert!(Key::new(bad, "checkout").is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_stem_says_which_rollout_it_is() {
        let key = Key::new("shop", "checkout").unwrap();
        assert_eq!(key.stem(), "shop.checkout");
        assert_eq!(Key::from_stem(&key.stem()), Some(key));
        assert_eq!(Key::from_stem("nodots"), None);
    }
}
