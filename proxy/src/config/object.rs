//! Kubernetes objects out of YAML or JSON.

use std::fmt;
use std::sync::Arc;

use gateway_api::httproutes::HttpRoute;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::slice::Slice;

/// An object that the proxy reads.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Object {
    Route(Arc<HttpRoute>),
    Slice(Box<Slice>),
    Service(Box<Service>),
}

/// Which object it is. The name comes first, because it tells most of them apart at once.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Id {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) kind: &'static str,
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// What a file holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Parsed {
    pub(crate) objects: Vec<(Id, Object)>,
    /// Objects that are there and can't be used.
    pub(crate) broken: Vec<Id>,
    /// What is wrong or left out, with the field and the remedy.
    pub(crate) problems: Vec<String>,
}

/// Reads all documents of a text. Errors: the text is neither YAML nor JSON, or holds nothing.
pub(crate) fn parse(text: &str) -> Result<Parsed, String> {
    let documents: Vec<Value> = documents(text)?;
    if documents.is_empty() {
        return Err("holds no object (half-written?); write the object, or delete the file".into());
    }
    let mut parsed = Parsed::default();
    documents.into_iter().for_each(|document| add(&mut parsed, document));
    Ok(parsed)
}

fn documents(text: &str) -> Result<Vec<Value>, String> {
    let values: Result<Vec<Value>, String> = if text.trim_start().starts_with(['{', '[']) {
        serde_json::Deserializer::from_str(text).into_iter().map(|v| v.map_err(|e| e.to_string())).collect()
    } else {
        let options = serde_saphyr::options! { with_snippet: false };
        serde_saphyr::from_multiple_with_options(text, options).map_err(|e| e.to_string())
    };
    let values =
        values.map_err(|e| format!("is not valid YAML or JSON (half-written?): {}", one_line(&e)))?;
    Ok(values.into_iter().filter(|v| !v.is_null()).collect())
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn add(parsed: &mut Parsed, document: Value) {
    let (kind, version) = (text(&document, "kind"), text(&document, "apiVersion"));
    let group = version.split_once('/').map_or("", |(group, _)| group);
    match (group, kind.as_str()) {
        (_, "") => parsed.problems.push("kind: is missing; write HTTPRoute, EndpointSlice or Service".into()),
        ("", "List") => add_items(parsed, document),
        ("gateway.networking.k8s.io", "HTTPRoute") => {
            add_typed(parsed, "HTTPRoute", document, |o| Object::Route(Arc::new(o)));
        }
        ("discovery.k8s.io", "EndpointSlice") => {
            add_typed(parsed, "EndpointSlice", document, |o: EndpointSlice| Object::Slice(Box::new(o.into())));
        }
        ("", "Service") => add_typed(parsed, "Service", document, |o| Object::Service(Box::new(o))),
        (_, "HTTPRoute" | "EndpointSlice" | "Service") => parsed.problems.push(format!(
            "apiVersion: {version:?} does not go with {kind}; write gateway.networking.k8s.io/v1 for HTTPRoute, \
             discovery.k8s.io/v1 for EndpointSlice, v1 for Service"
        )),
        _ => parsed.problems.push(format!(
            "kind: {kind} is ignored, only HTTPRoute, EndpointSlice and Service are read; move it to another folder"
        )),
    }
}

fn add_items(parsed: &mut Parsed, mut list: Value) {
    if let Some(items) = list.get_mut("items").and_then(Value::as_array_mut) {
        std::mem::take(items).into_iter().for_each(|item| add(parsed, item));
    }
}

fn add_typed<T: DeserializeOwned>(
    parsed: &mut Parsed,
    kind: &'static str,
    document: Value,
    wrap: impl FnOnce(T) -> Object,
) {
    let metadata = document.get("metadata").cloned().unwrap_or_default();
    let (name, namespace) = (text(&metadata, "name"), text(&metadata, "namespace"));
    if name.is_empty() {
        return parsed.problems.push(format!("{kind}: metadata.name: is missing; name the object"));
    }
    let namespace = if namespace.is_empty() { "default".into() } else { namespace };
    let id = Id { kind, namespace, name };
    let mut unknown = Vec::new();
    match typed(&document, &mut unknown) {
        Ok(object) => parsed.objects.push((id.clone(), wrap(object))),
        Err(error) => {
            parsed.problems.push(format!("{id}: {error}; what was good before stays in effect"));
            parsed.broken.push(id.clone());
        }
    }
    let unknown = unknown.into_iter().filter(|field| field != "apiVersion" && field != "kind").take(20);
    let note = |field| format!("{id}: {field}: is no known field and has no effect; correct or remove it");
    parsed.problems.extend(unknown.map(note));
}

/// Reads a document as a `T`. Fields that `T` does not know are pushed to `unknown`. Errors: the field and why.
pub(crate) fn typed<T: DeserializeOwned>(document: &Value, unknown: &mut Vec<String>) -> Result<T, String> {
    let mut track = serde_path_to_error::Track::new();
    let outer = serde_path_to_error::Deserializer::new(document, &mut track);
    let result = serde_ignored::deserialize(outer, |path| unknown.push(path.to_string().replace(".?", "")));
    result.map_err(|e| format!("{}: {}", track.path(), one_line(&e.to_string())))
}

fn text(value: &Value, field: &str) -> String {
    value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLICE: &str = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: a}\n\
                         addressType: IPv4\nendpoints: []\n";

    #[test]
    fn documents_lists_and_json_are_read() {
        let yaml = format!("{SLICE}---\n{}", SLICE.replace("name: a", "name: b, namespace: shop"));
        let names: Vec<_> = parse(&yaml).unwrap().objects.into_iter().map(|(id, _)| id.to_string()).collect();
        assert_eq!(names, ["EndpointSlice default/a", "EndpointSlice shop/b"]);
        let json = r#"{"kind":"List","apiVersion":"v1","items":[
            {"kind":"Service","apiVersion":"v1","metadata":{"name":"s"},"spec":{}}]}"#;
        assert_eq!(parse(json).unwrap().objects.len(), 1);
    }

    #[test]
    fn a_half_written_file_is_refused() {
        for text in ["", "\n", "# a comment\n", "{\"kind\": \"Serv", "a: [1, 2", "---\n"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_field_that_does_not_fit_is_named() {
        let parsed = parse(&SLICE.replace("endpoints: []", "endpoints: [{addresses: 7}]")).unwrap();
        assert_eq!(parsed.broken.len(), 1);
        assert!(
            parsed.problems[0].starts_with("EndpointSlice default/a: endpoints[0].addresses: "),
            "{parsed:?}"
        );
    }

    #[test]
    fn misspelt_fields_and_other_kinds_are_named() {
        let parsed = parse(&SLICE.replace("endpoints: []", "endpoint: []")).unwrap();
        assert!(parsed.problems[0].contains("endpoint: is no known field"), "{parsed:?}");
        let parsed = parse("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}").unwrap();
        assert!(parsed.problems[0].contains("Deployment is ignored"), "{parsed:?}");
        let parsed = parse("apiVersion: v1\nkind: HTTPRoute\nmetadata: {name: a}").unwrap();
        assert!(parsed.problems[0].starts_with("apiVersion: "), "{parsed:?}");
    }
}
