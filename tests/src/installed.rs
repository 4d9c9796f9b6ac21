//! Programs that `tests/NAME/install` builds from source, in the version that `tests/NAME/go.mod` names.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The program of this name, which a module brings. Errors: it is not there, with what to run.
pub fn program(name: &str, module: &str) -> Result<PathBuf> {
    let go_mod = Path::new(env!("CARGO_MANIFEST_DIR")).join(name).join("go.mod");
    let text = std::fs::read_to_string(&go_mod).with_context(|| format!("read {}", go_mod.display()))?;
    let wanted = format!("require {module} ");
    let version = text.lines().find_map(|line| line.trim().strip_prefix(&wanted));
    let version = version.with_context(|| format!("{} requires no {module}", go_mod.display()))?;
    let binary = cache()?.join(format!("{name}-{}", version.trim())).join(name);
    if !binary.is_file() {
        bail!("{} is missing; build it: tests/{name}/install", binary.display());
    }
    Ok(binary)
}

fn cache() -> Result<PathBuf> {
    if let Some(cache) = std::env::var_os("PENSTOCK_CACHE") {
        return Ok(cache.into());
    }
    let home = std::env::var_os("HOME").context("neither PENSTOCK_CACHE nor HOME is set")?;
    Ok(PathBuf::from(home).join(".cache/penstock"))
}
