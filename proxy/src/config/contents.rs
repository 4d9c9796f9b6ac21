//! Everything that a source of objects holds at a moment.

use std::collections::HashMap;
use std::path::Path;

use super::object::{Id, Object};

/// By names that whoever configures the proxy has chosen. All of them are hashed at each change.
pub(crate) type ByName<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// What is to be put into effect.
#[derive(Debug, Default)]
pub(crate) struct Contents<'a> {
    /// Each object once, with its file, in the order of files; an empty path if it comes from none.
    pub(crate) objects: Vec<(&'a Id, &'a Path, &'a Object)>,
    /// What can't be used, or is left out.
    pub(crate) problems: Vec<String>,
}

/// The name by which messages call a file.
pub(crate) fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// What messages about an object begin with: its file, if it comes from one, and its name.
pub(crate) fn place(file: &str, id: &Id) -> String {
    if file.is_empty() { id.to_string() } else { format!("{file}: {id}") }
}
