//! A change of annotations that is to hold on what was read only.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Map, Value, json};

use super::ORDERS;
use super::list::List;

/// Takes annotations away and writes the list of orders. There are two ways to ask for it, and either is safe: it is
/// made on what was read, or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    uid: Option<String>,
    version: Option<String>,
    /// What is taken away, as it was read.
    taken: BTreeMap<String, String>,
    /// The list as it was read, and as it is to be.
    list: (Option<String>, Option<String>),
}

impl Change {
    pub(super) fn new(metadata: &ObjectMeta, taken: &[&str], list: &List) -> Change {
        let annotations = metadata.annotations.clone().unwrap_or_default();
        let read = |name: &str| annotations.get(name).cloned();
        Change {
            uid: metadata.uid.clone(),
            version: metadata.resource_version.clone(),
            taken: taken.iter().filter_map(|name| Some(((*name).to_owned(), read(name)?))).collect(),
            list: (read(ORDERS), list.text()),
        }
    }

    /// For the very version that was read: a merge patch (RFC 7396). Refused as a conflict when anybody has written
    /// anything since.
    pub fn on_version(&self) -> Value {
        let mut annotations: Map<String, Value> =
            self.taken.keys().map(|name| (name.clone(), Value::Null)).collect();
        annotations.insert(ORDERS.to_owned(), json!(self.list.1));
        json!({"metadata": {"uid": self.uid, "resourceVersion": self.version, "annotations": annotations}})
    }

    /// For any version with these annotations as they were read, whatever else was written since: a patch (RFC 6902).
    ///
    /// API servers compare text by the way they write it, `<`, `>` and `&` as escapes: where one of these stands this
    /// is refused as invalid, for ever. `on_version` never is.
    pub fn on_values(&self) -> Value {
        let mut operations = Vec::new();
        let mut test = |path: &str, value: Value| {
            operations.push(json!({"op": "test", "path": path, "value": value}));
        };
        if let Some(uid) = &self.uid {
            test("/metadata/uid", json!(uid));
        }
        self.taken.iter().for_each(|(name, value)| test(&path(name), json!(value)));
        // An API server takes what is missing for null.
        test(&path(ORDERS), json!(self.list.0));
        operations.extend(self.taken.keys().map(|name| json!({"op": "remove", "path": path(name)})));
        match &self.list {
            (_, Some(text)) => operations.push(json!({"op": "add", "path": path(ORDERS), "value": text})),
            (Some(_), None) => operations.push(json!({"op": "remove", "path": path(ORDERS)})),
            (None, None) => {}
        }
        Value::Array(operations)
    }
}

/// A JSON pointer: RFC 6901.
fn path(annotation: &str) -> String {
    format!("/metadata/annotations/{}", annotation.replace('~', "~0").replace('/', "~1"))
}
