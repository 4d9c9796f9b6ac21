//! Files and ports of one run.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Context, Result};
use tempfile::TempDir;

/// Below the ports that the kernel gives to clients.
const PORTS: std::ops::Range<u16> = 10_000..32_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A folder that is gone when the run is over.
#[derive(Debug)]
pub(crate) struct Place(TempDir);

impl Place {
    /// A new one.
    pub(crate) fn new() -> Result<Place> {
        let begin = PORTS.start + u16::try_from(std::process::id() % 200).unwrap_or(0) * 100;
        NEXT.store(begin, Ordering::Relaxed);
        Ok(Place(tempfile::Builder::new().prefix("penstock-bench-").tempdir()?))
    }

    /// The path of a file or folder in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The folder itself.
    pub(crate) fn folder(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file.
    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.path(name);
        fs::write(&path, text).with_context(|| format!("write {name}"))?;
        Ok(path)
    }
}

/// A port that nobody listens on.
pub(crate) fn port() -> Result<u16> {
    for _ in PORTS {
        let port = NEXT.fetch_add(1, Ordering::Relaxed);
        if !PORTS.contains(&port) {
            NEXT.store(PORTS.start, Ordering::Relaxed);
        } else if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            return Ok(port);
        }
    }
    anyhow::bail!("no free port between {} and {}", PORTS.start, PORTS.end)
}

/// Fills in the `@NAMES@` of a configuration.
pub(crate) fn fill(template: &str, names: &[(&str, &dyn std::fmt::Display)]) -> String {
    names.iter().fold(template.to_owned(), |text, (name, value)| {
        text.replace(&format!("@{name}@"), &value.to_string())
    })
}
