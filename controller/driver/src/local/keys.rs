//! Secrets of Rollouts in a folder: files, or variables of the environment.

use std::io::Read;
use std::path::PathBuf;

use penstock_crds::KeyRef;

use super::home::Home;
use crate::ask::hook::Keys;

/// Longest secret, in bytes: as long as a whole Secret may be.
const LONGEST: u64 = 1 << 20;

/// The secrets of one namespace.
#[derive(Clone, Debug)]
pub(super) struct LocalKeys {
    folder: PathBuf,
    namespace: String,
}

impl LocalKeys {
    pub(super) fn new(home: &Home, namespace: &str) -> LocalKeys {
        let namespace = namespace.to_owned();
        LocalKeys { folder: home.dir().join(".secrets").join(&namespace), namespace }
    }

    fn read(&self, kind: &str, key: &KeyRef) -> Result<Vec<u8>, String> {
        let KeyRef { name, key } = key;
        let file = self.folder.join(name).join(key);
        if key.trim_matches('.').is_empty() {
            return Err(format!("`{key}` is no key of a {kind}: name another one"));
        }
        let variable = variable(&self.namespace, name, key);
        if let Ok(value) = std::env::var(&variable) {
            return Ok(value.into_bytes());
        }
        let mut bytes = Vec::new();
        let read = std::fs::File::open(&file).and_then(|file| file.take(LONGEST).read_to_end(&mut bytes));
        let missing = |error| {
            let file = file.display();
            format!("the {kind} {name} has no `{key}` here ({error}): write it to {file}, or set {variable}")
        };
        read.map(|_| bytes).map_err(missing)
    }
}

/// The variable that may hold a secret: `PENSTOCK_SECRET_SHOP_CI_TOKEN`.
fn variable(namespace: &str, name: &str, key: &str) -> String {
    let text = format!("PENSTOCK_SECRET_{namespace}_{name}_{key}").to_ascii_uppercase();
    text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

impl Keys for LocalKeys {
    async fn secret(&self, key: &KeyRef) -> Result<Vec<u8>, String> {
        self.read("Secret", key)
    }

    async fn config(&self, key: &KeyRef) -> Result<Vec<u8>, String> {
        self.read("ConfigMap", key)
    }
}
