//! The fields of a Rollout as a page for people, written from the definition that an API server gets.

use serde_json::{Map, Value};

use crate::schema::crd;

const HEAD: &str = "\
# The Rollout, field by field

`penstock.dev/v1alpha1`. Written from the definition by `make crds`; a test compares. `kubectl explain rollout.spec` says
the same on a cluster, and [crds/examples](../crds/examples) has whole manifests. Fields in bold must be written. What the
definition can't refuse is refused by `penstock check FILE` before, and by the condition `Stalled` after it is applied.
";

/// Objects of Kubernetes, which are described by Kubernetes.
const FOREIGN: [(&str, &str); 2] = [
    ("spec.selector", "a label selector: `matchLabels` and `matchExpressions`"),
    (
        "status.conditions[]",
        "a condition: `type`, `status`, `reason`, `message`, `observedGeneration`, `lastTransitionTime`",
    ),
];

/// The page, as Markdown. Errors: those of [`crd`].
pub fn reference() -> Result<String, serde_json::Error> {
    let definition = serde_json::to_value(crd()?)?;
    let mut page = Page { text: HEAD.to_owned() };
    for part in ["spec", "status"] {
        let path = format!("/spec/versions/0/schema/openAPIV3Schema/properties/{part}");
        if let Some(schema) = definition.pointer(&path) {
            page.object(part, schema);
        }
    }
    Ok(page.text)
}

struct Page {
    text: String,
}

impl Page {
    /// A section for an object, then for those inside it.
    fn object(&mut self, path: &str, schema: &Value) {
        let Some(Value::Object(fields)) = schema.get("properties") else { return };
        self.text.push_str(&format!("\n## {path}\n\n{}\n", sentence(schema)));
        for rule in rules(schema) {
            self.text.push_str(&format!("\n*{rule}*\n"));
        }
        self.text.push_str("\n| field | type | |\n|---|---|---|\n");
        for (name, field) in fields {
            let must = required(schema).any(|required| required == name);
            self.text.push_str(&row(path, name, field, must));
        }
        self.inside(path, fields);
    }

    fn inside(&mut self, path: &str, fields: &Map<String, Value>) {
        for (name, field) in fields {
            let (path, schema) = inner(&format!("{path}.{name}"), field);
            if foreign(&path).is_none() {
                self.object(&path, schema);
            }
        }
    }
}

/// What stands inside a field: the items of a list, the values of a map, or the field itself.
fn inner<'a>(path: &str, field: &'a Value) -> (String, &'a Value) {
    match (field.get("items"), field.get("additionalProperties").filter(|inner| inner.is_object())) {
        (Some(items), _) => (format!("{path}[]"), items),
        (None, Some(values)) => (format!("{path}.*"), values),
        (None, None) => (path.to_owned(), field),
    }
}

fn row(path: &str, name: &str, field: &Value, must: bool) -> String {
    let (inside, schema) = inner(&format!("{path}.{name}"), field);
    let name = if must { format!("**`{name}`**") } else { format!("`{name}`") };
    let kind = kind(field);
    let linked = schema.get("properties").is_some() && foreign(&inside).is_none();
    let kind = if linked { format!("[{kind}](#{})", anchor(&inside)) } else { kind };
    let mut said = vec![sentence(field)];
    said.extend(foreign(&inside).map(|what| format!("It is {what}.")));
    said.extend(limits(field));
    if !linked {
        said.extend(rules(field).map(|rule| format!("*{rule}*")));
    }
    said.retain(|text| !text.is_empty());
    format!("| {name} | {} | {} |\n", cell(&kind), cell(&said.join(" ")))
}

fn foreign(path: &str) -> Option<&'static str> {
    FOREIGN.iter().find(|(known, _)| *known == path).map(|(_, what)| *what)
}

fn kind(field: &Value) -> String {
    if field.get("x-kubernetes-int-or-string").is_some() {
        return "integer or string".to_owned();
    }
    let text = |schema: &Value| schema["type"].as_str().unwrap_or("any").to_owned();
    match (field.get("items"), field.get("additionalProperties").filter(|inner| inner.is_object())) {
        (Some(items), _) => format!("list of {}", text(items)),
        (None, Some(values)) => format!("map of {}", text(values)),
        (None, None) => text(field),
    }
}

fn limits(field: &Value) -> Vec<String> {
    let mut said = Vec::new();
    if let Some(values) = field["enum"].as_array() {
        let values: Vec<_> = values.iter().map(|value| format!("`{}`", plain(value))).collect();
        said.push(format!("One of {}.", values.join(", ")));
    }
    match (field.get("minimum"), field.get("maximum")) {
        (Some(least), Some(most)) => said.push(format!("From {} to {}.", plain(least), plain(most))),
        (Some(least), None) => said.push(format!("At least {}.", plain(least))),
        (None, Some(most)) => said.push(format!("At most {}.", plain(most))),
        (None, None) => {}
    }
    if let Some(most) = field.get("maxItems") {
        said.push(format!("At most {most} of them."));
    }
    said
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => match number.as_f64() {
            Some(float) if float.fract() == 0.0 => format!("{float:.0}"),
            _ => number.to_string(),
        },
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

fn required(schema: &Value) -> impl Iterator<Item = &str> {
    schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// What the rules of the definition say when they refuse.
fn rules(schema: &Value) -> impl Iterator<Item = &str> {
    let rules = schema["x-kubernetes-validations"].as_array().into_iter().flatten();
    rules.filter_map(|rule| rule["message"].as_str())
}

fn sentence(schema: &Value) -> String {
    schema["description"].as_str().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// As GitHub makes it of a heading.
fn anchor(path: &str) -> String {
    path.chars().filter(|c| c.is_ascii_alphanumeric()).collect::<String>().to_lowercase()
}
