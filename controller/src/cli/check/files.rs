//! The files that are to be checked.

use std::fs;
use std::io::{ErrorKind, Read, stdin};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use penstock_crds::MAX_BYTES;

use crate::cli::place::NotFound;

/// A file's name and what is in it.
pub(super) struct Input {
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
}

/// One file, all of a folder, or the standard input. Errors: [`NotFound`], or it can't be read.
pub(super) fn load(file: &Path) -> Result<Vec<Input>> {
    if file == Path::new("-") {
        return Ok(vec![Input { name: "<stdin>".to_owned(), bytes: bounded(stdin())? }]);
    }
    let files = if file.is_dir() { yaml_files(file)? } else { vec![file.to_owned()] };
    if files.is_empty() {
        bail!(NotFound(format!("{} has no .yaml, .yml or .json file", file.display())));
    }
    files.iter().map(|file| open(file)).collect()
}

fn yaml_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let name = || format!("can't list {}", dir.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).with_context(name)? {
        files.push(entry.with_context(name)?.path());
    }
    files.retain(|file| file.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json"));
    files.sort();
    Ok(files)
}

fn open(file: &Path) -> Result<Input> {
    let opened = match fs::File::open(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!(NotFound(format!("there is no file {}", file.display())))
        }
        opened => opened.and_then(bounded),
    };
    let bytes = opened.with_context(|| format!("can't read {}", file.display()))?;
    Ok(Input { name: file.display().to_string(), bytes })
}

/// One byte more than may be: enough to be refused.
fn bounded(from: impl Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
