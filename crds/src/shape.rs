//! Whether an object has the form of its schema: known fields, right types. The border for what people write in
//! files, where no API server has looked yet.

use std::sync::LazyLock;

use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use crate::refusal::Refusals;
use crate::rollout::RolloutSpec;

/// Checks an object and takes away what has not the form, so that the rest can be read and checked too.
///
/// Fields of Kubernetes that this version does not know are warnings: they may be newer.
pub(crate) fn check(object: &mut Value, refusals: &mut Refusals, warnings: &mut Refusals) {
    let Some(members) = object.as_object_mut() else { return };
    let known = ["apiVersion", "kind", "metadata", "spec", "status"];
    for name in members.keys().filter(|name| !known.contains(&name.as_str())) {
        let remedy = remedy_for(name, &known.map(str::to_owned), "");
        refusals.add(name.clone(), "unknown field", remedy);
    }
    if let Some(metadata) = members.get_mut("metadata") {
        Check { root: &METADATA, foreign: true, refusals, warnings }.whole("metadata", metadata);
    }
    if let Some(spec) = members.get_mut("spec") {
        Check { root: &SPEC, foreign: false, refusals, warnings }.whole("spec", spec);
        if let Some(template) = spec.get_mut("template") {
            Check { root: &TEMPLATE, foreign: true, refusals, warnings }.whole("spec.template", template);
        }
    }
}

static SPEC: LazyLock<Value> = LazyLock::new(schema_of::<RolloutSpec>);
static METADATA: LazyLock<Value> = LazyLock::new(schema_of::<ObjectMeta>);
static TEMPLATE: LazyLock<Value> = LazyLock::new(schema_of::<PodTemplateSpec>);

/// A schema with `$defs`, since the one of a pod, written out, is large; and without its descriptions.
fn schema_of<T: JsonSchema>() -> Value {
    let schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>();
    let mut schema = schema.to_value();
    without_descriptions(&mut schema);
    schema
}

fn without_descriptions(schema: &mut Value) {
    if let Some(members) = schema.as_object_mut() {
        members.retain(|name, value| name != "description" || !value.is_string());
        members.values_mut().for_each(without_descriptions);
    } else if let Some(items) = schema.as_array_mut() {
        items.iter_mut().for_each(without_descriptions);
    }
}

struct Check<'a> {
    root: &'static Value,
    /// Kubernetes' own types: newer fields may be well.
    foreign: bool,
    refusals: &'a mut Refusals,
    warnings: &'a mut Refusals,
}

impl Check<'_> {
    fn whole(&mut self, path: &str, value: &mut Value) {
        let root = self.root;
        if !self.fits(path, root, value) {
            *value = Value::Object(Map::new());
        }
    }

    /// Whether the value can stand; what is wrong inside of it has been said and taken away.
    fn fits(&mut self, path: &str, schema: &Value, value: &mut Value) -> bool {
        let schema = self.resolved(schema);
        if value.is_null() {
            return true;
        }
        let Some(expected) = expected(schema) else { return true };
        if !expected.holds(schema, value, self.foreign) {
            self.refusals.add(path, expected.problem(value), expected.remedy(schema, value));
            return false;
        }
        match value {
            Value::Object(members) => self.object(path, schema, members),
            Value::Array(items) => self.array(path, schema, items),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
        true
    }

    fn object(&mut self, path: &str, schema: &Value, members: &mut Map<String, Value>) {
        let none = Map::new();
        let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&none);
        let any = schema.get("additionalProperties").filter(|s| s.is_object());
        let open = properties.is_empty() && (any.is_none() || self.foreign);
        let mut bad = Vec::new();
        for (name, value) in members.iter_mut() {
            let inside = joined(path, name);
            let fits = match properties.get(name).or(any) {
                Some(schema) => self.fits(&inside, schema, value),
                None => open || self.unknown(&inside, name, properties),
            };
            if !fits {
                bad.push(name.clone());
            }
        }
        bad.iter().for_each(|name| drop(members.remove(name)));
        if self.foreign {
            self.required(path, schema, members);
        }
    }

    fn array(&mut self, path: &str, schema: &Value, items: &mut [Value]) {
        let Some(schema) = schema.get("items") else { return };
        for (n, item) in items.iter_mut().enumerate() {
            let inside = format!("{path}[{n}]");
            if item.is_null() || !self.fits(&inside, schema, item) {
                self.refusals.add(inside, "empty item", "write its value or remove the `-`");
                *item = stand_in(self.resolved(schema));
            }
        }
    }

    fn unknown(&mut self, path: &str, name: &str, known: &Map<String, Value>) -> bool {
        let known: Vec<String> = known.keys().cloned().collect();
        let remedy = remedy_for(name, &known, &self.elsewhere(name));
        if self.foreign {
            self.warnings.add(path, "Kubernetes has no such field, as far as this version knows", remedy);
            return true;
        }
        self.refusals.add(path, "unknown field", remedy);
        false
    }

    /// A field of this name at another place: most often the indentation went wrong.
    fn elsewhere(&self, name: &str) -> String {
        if self.foreign {
            return String::new();
        }
        let mut found = Vec::new();
        places(self.root, self.root, "spec", name, &mut found);
        match found.as_slice() {
            [place] => format!("it belongs at {place}: check the indentation"),
            _ => String::new(),
        }
    }

    /// Only for Kubernetes' types: of ours, admission says more.
    fn required(&mut self, path: &str, schema: &Value, members: &Map<String, Value>) {
        let required = schema.get("required").and_then(Value::as_array);
        for name in required.into_iter().flatten().filter_map(Value::as_str) {
            if members.get(name).is_none_or(Value::is_null) {
                self.refusals.add(joined(path, name), "missing", format!("write `{name}`"));
            }
        }
    }

    fn resolved<'s>(&self, schema: &'s Value) -> &'s Value
    where
        Self: 's,
    {
        resolve(self.root, schema)
    }
}

/// Follows `$ref`, and `anyOf` with null as an optional type has it.
fn resolve<'s>(root: &'static Value, schema: &'s Value) -> &'s Value {
    let reference = schema.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix('#'));
    if let Some(target) = reference.and_then(|pointer| root.pointer(pointer)) {
        return target;
    }
    let choices = schema.get("anyOf").and_then(Value::as_array);
    let typed = |choice: &&Value| choice.get("type").and_then(Value::as_str) != Some("null");
    match choices.and_then(|choices| choices.iter().find(typed)) {
        Some(choice) => resolve(root, choice),
        None => schema,
    }
}

fn places(root: &'static Value, schema: &'static Value, path: &str, name: &str, found: &mut Vec<String>) {
    let schema = resolve(root, schema);
    if let Some(items) = schema.get("items") {
        places(root, items, &format!("{path}[]"), name, found);
    }
    for (known, inner) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let inside = joined(path, known);
        if known == name {
            found.push(inside.clone());
        }
        places(root, inner, &inside, name, found);
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Expected {
    Text,
    Whole,
    Number,
    Switch,
    Object,
    List,
    WholeOrText,
}

fn expected(schema: &Value) -> Option<Expected> {
    if schema.get("x-kubernetes-int-or-string").is_some() {
        return Some(Expected::WholeOrText);
    }
    let kind = schema.get("type")?;
    let mut kinds = kind.as_array().into_iter().flatten().chain([kind]).filter_map(Value::as_str);
    match kinds.find(|kind| *kind != "null")? {
        "string" => Some(Expected::Text),
        "integer" => Some(Expected::Whole),
        "number" => Some(Expected::Number),
        "boolean" => Some(Expected::Switch),
        "object" => Some(Expected::Object),
        "array" => Some(Expected::List),
        _ => None,
    }
}

impl Expected {
    fn holds(self, schema: &Value, value: &Value, foreign: bool) -> bool {
        let short = || schema.get("format").and_then(Value::as_str) == Some("int32");
        match self {
            Expected::Text => value.is_string(),
            Expected::Whole => value.as_i64().is_some_and(|n| !short() || i32::try_from(n).is_ok()),
            Expected::Number => value.is_number(),
            Expected::Switch => value.is_boolean(),
            Expected::Object => value.is_object(),
            Expected::List => value.is_array(),
            // Kubernetes has quantities of this form, which may be fractions.
            Expected::WholeOrText => value.is_string() || value.is_i64() || (foreign && value.is_number()),
        }
    }

    fn problem(self, value: &Value) -> String {
        let wanted = match self {
            Expected::Text => "a text",
            Expected::Whole => "a whole number",
            Expected::Number => "a number",
            Expected::Switch => "true or false",
            Expected::Object => "fields",
            Expected::List => "a list",
            Expected::WholeOrText => "a whole number or a text",
        };
        format!("expected {wanted}, found {}", found(value))
    }

    /// The message of the schema's own rule knows best.
    fn remedy(self, schema: &Value, value: &Value) -> String {
        let rule = schema.pointer("/x-kubernetes-validations/0/message").and_then(Value::as_str);
        match self {
            Expected::Text if rule.is_some() => rule.unwrap_or_default().to_owned(),
            Expected::Text if !value.is_object() && !value.is_array() => {
                format!("write \"{value}\" in quotes")
            }
            Expected::Whole => whole_remedy(value),
            Expected::Text => "write a text".to_owned(),
            Expected::Number => "write a number".to_owned(),
            Expected::Switch => "write true or false, without quotes".to_owned(),
            Expected::Object => object_remedy(schema),
            Expected::List => "write its items below it, each with a `-`".to_owned(),
            Expected::WholeOrText => "write a whole number or a text".to_owned(),
        }
    }
}

fn object_remedy(schema: &Value) -> String {
    let names: Vec<_> =
        schema.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::keys).collect();
    match names.as_slice() {
        [] => "write its fields below it, indented".to_owned(),
        [only] => format!("write `{only}: …` below it, indented"),
        [first, ..] => format!("write its fields below it, indented, for instance `{first}: …`"),
    }
}

fn whole_remedy(value: &Value) -> String {
    let text = value.as_str().unwrap_or_default();
    let digits: String = text.chars().take_while(char::is_ascii_digit).take(9).collect();
    if digits.is_empty() {
        return "write a whole number, for instance 10".to_owned();
    }
    format!("write {digits}, without quotes and unit")
}

fn found(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(_) => format!("`{value}`"),
        Value::Number(_) => format!("the number {value}"),
        Value::String(text) => format!("the text `{}`", text.chars().take(40).collect::<String>()),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "fields".to_owned(),
    }
}

/// In place of an item that was refused, so that the others keep their numbers.
fn stand_in(schema: &Value) -> Value {
    match expected(schema) {
        Some(Expected::Text | Expected::WholeOrText) => Value::String(String::new()),
        Some(Expected::Whole | Expected::Number) => Value::from(0),
        Some(Expected::Switch) => Value::Bool(false),
        Some(Expected::List) => Value::Array(Vec::new()),
        Some(Expected::Object) | None => Value::Object(Map::new()),
    }
}

fn remedy_for(name: &str, known: &[String], elsewhere: &str) -> String {
    if let Some(near) = nearest(name, known) {
        return format!("did you mean `{near}`?");
    }
    if !elsewhere.is_empty() {
        return elsewhere.to_owned();
    }
    if known.is_empty() {
        return "remove it: nothing can be set here".to_owned();
    }
    format!("remove it; known are {}", known.join(", "))
}

/// The known name that was most likely meant.
pub(crate) fn nearest<'k>(name: &str, known: &'k [String]) -> Option<&'k str> {
    let plain = |name: &str| name.to_ascii_lowercase().replace(['-', '_'], "");
    // Long names are no typing errors, and comparing them costs.
    let wanted: String = plain(name).chars().take(64).collect();
    let distance = |known: &&String| strsim::damerau_levenshtein(&wanted, &plain(known));
    let best = known.iter().min_by_key(distance)?;
    let near = distance(&best) <= 1 + wanted.len().min(best.len()) / 4;
    near.then_some(best.as_str())
}

/// The path of a field within `path`; names that a path can't carry are quoted.
pub(crate) fn joined(path: &str, name: &str) -> String {
    if path.is_empty() {
        return name.to_owned();
    }
    let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if plain { format!("{path}.{name}") } else { format!("{path}[{name:?}]") }
}
