//! YAML files: documents with the lines on which their fields stand.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{Location, MessageFormatter, Spanned, UserMessageFormatter};

use crate::admit::{Admitted, admit_value};
use crate::refusal::Refusal;
use crate::rollout::Rollout;
use crate::shape::joined;
use crate::{API_VERSION, KIND};

/// The largest file that is read: an API server takes no larger object.
pub const MAX_BYTES: usize = 3 * 1024 * 1024;

/// A line and a column of a file, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: u64,
    /// The column.
    pub column: u64,
}

/// One object of a YAML file, of any kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// The file's name, as it was given.
    pub file: String,
    /// The object as JSON.
    pub value: Value,
    places: BTreeMap<String, Place>,
}

/// A file, or a document of it, that can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}{}: {problem}; {remedy}", .place.map_or_else(String::new, |p| format!(":{}:{}", p.line, p.column)))]
pub struct ReadError {
    /// The file's name, as it was given.
    pub file: String,
    /// Where in the file, if it is known.
    pub place: Option<Place>,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub remedy: String,
}

/// Reads all documents of a file; empty ones are left out. After a syntax error nothing more can be read.
pub fn read(bytes: &[u8], file: &str) -> Vec<Result<Document, ReadError>> {
    let refuse = |problem: String, remedy: &str| {
        vec![Err(ReadError { file: file.to_owned(), place: None, problem, remedy: remedy.to_owned() })]
    };
    if bytes.len() > MAX_BYTES {
        return refuse(format!("the file has {} bytes", bytes.len()), "split it: at most 3 MiB are read");
    }
    if let Err(error) = std::str::from_utf8(bytes) {
        let problem = format!("byte {} is no UTF-8", error.valid_up_to());
        return refuse(problem, "save the file as UTF-8 text");
    }
    // Deep enough for any object of Kubernetes, and for the stack.
    let budget = serde_saphyr::budget! { max_depth: 100 };
    let options = serde_saphyr::options! { with_snippet: false, budget: budget };
    let mut reader = bytes;
    let nodes = serde_saphyr::read_with_options::<_, Spanned<Node>>(&mut reader, options);
    nodes.map(|node| node.map(|node| document(file, node)).map_err(|e| syntax_error(file, &e))).collect()
}

impl Document {
    /// Whether it is a Rollout of Penstock, or was meant to be one.
    pub fn is_rollout(&self) -> bool {
        let group = self.text("apiVersion").split('/').next().unwrap_or_default();
        group == crate::GROUP || (self.text("kind") == KIND && group != "argoproj.io")
    }

    /// Its kind; empty when there is none.
    pub fn kind(&self) -> &str {
        self.text("kind")
    }

    /// Its name; empty when there is none.
    pub fn name(&self) -> &str {
        self.value.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
    }

    /// The Rollout with its types. Errors: what [`admit_value`] refuses.
    pub fn rollout(&self) -> Result<(Rollout, Admitted), Vec<Refusal>> {
        let admitted = admit_value(&self.value)?;
        let rollout = Rollout::deserialize(&self.value).map_err(|error| {
            let remedy = format!("write it as {API_VERSION} has it");
            vec![Refusal { path: "spec".to_owned(), problem: error.to_string(), remedy }]
        })?;
        Ok((rollout, admitted))
    }

    /// Where a field stands: itself, or the nearest field around it that the file has.
    pub fn place(&self, path: &str) -> Option<Place> {
        let mut path = path;
        loop {
            if let Some(place) = self.places.get(path) {
                return Some(*place);
            }
            path = &path[..path.rfind(['.', '['])?];
        }
    }

    fn text(&self, name: &str) -> &str {
        self.value.get(name).and_then(Value::as_str).unwrap_or_default()
    }
}

fn syntax_error(file: &str, error: &serde_saphyr::Error) -> ReadError {
    let problem = UserMessageFormatter.format_message(error).into_owned();
    let remedy = if problem.starts_with("duplicate") {
        "remove one of the two"
    } else {
        "write valid YAML here: spaces only, the same indentation for all fields of an object, quotes closed"
    };
    let place = error.location().and_then(place_of);
    ReadError { file: file.to_owned(), place, problem, remedy: remedy.to_owned() }
}

fn place_of(location: Location) -> Option<Place> {
    (location != Location::UNKNOWN).then(|| Place { line: location.line(), column: location.column() })
}

fn document(file: &str, node: Spanned<Node>) -> Document {
    let mut places = BTreeMap::new();
    if let Some(place) = place_of(node.referenced) {
        places.insert(String::new(), place);
    }
    let value = node.value.into_value("", &mut places);
    Document { file: file.to_owned(), value, places }
}

/// A YAML node with its place.
#[derive(Debug)]
enum Node {
    Scalar(Value),
    List(Vec<Spanned<Node>>),
    Fields(Vec<(Spanned<String>, Node)>),
}

impl Node {
    /// The JSON of it; the places of all fields below `path` are noted.
    fn into_value(self, path: &str, places: &mut BTreeMap<String, Place>) -> Value {
        match self {
            Node::Scalar(value) => value,
            Node::List(items) => items
                .into_iter()
                .enumerate()
                .map(|(n, item)| {
                    let inside = format!("{path}[{n}]");
                    places.extend(place_of(item.referenced).map(|place| (inside.clone(), place)));
                    item.value.into_value(&inside, places)
                })
                .collect(),
            Node::Fields(fields) => Value::Object(fields_into_map(fields, path, places)),
        }
    }
}

fn fields_into_map(
    fields: Vec<(Spanned<String>, Node)>,
    path: &str,
    places: &mut BTreeMap<String, Place>,
) -> Map<String, Value> {
    let mut map = Map::new();
    for (name, node) in fields {
        let inside = joined(path, &name.value);
        places.extend(place_of(name.referenced).map(|place| (inside.clone(), place)));
        map.insert(name.value, node.into_value(&inside, places));
    }
    map
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value that JSON has, too")
    }

    fn visit_bool<E>(self, v: bool) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Bool(v)))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Node, E> {
        Ok(Node::Scalar(Value::from(v)))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Node, E> {
        Ok(Node::Scalar(Value::from(v)))
    }

    fn visit_f64<E: serde::de::Error>(self, v: f64) -> Result<Node, E> {
        let number =
            Number::from_f64(v).ok_or_else(|| E::custom(format!("the number {v} has no place in JSON")));
        Ok(Node::Scalar(Value::Number(number?)))
    }

    fn visit_str<E>(self, v: &str) -> Result<Node, E> {
        Ok(Node::Scalar(Value::from(v)))
    }

    fn visit_string<E>(self, v: String) -> Result<Node, E> {
        Ok(Node::Scalar(Value::from(v)))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Node, A::Error> {
        let mut map = Vec::new();
        while let Some(field) = fields.next_entry()? {
            map.push(field);
        }
        Ok(Node::Fields(map))
    }
}
