//! YAML with comments: an object is edited as a value, and written again with the comments that stood above its fields.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Widest line of a list that is written in brackets.
const WIDEST: usize = 100;

/// One object with the comments of its file.
#[derive(Clone, Debug)]
pub(super) struct Sheet {
    value: Value,
    /// The line of each field, by its path: their order.
    lines: BTreeMap<String, u64>,
    /// The comments above a line.
    comments: BTreeMap<u64, Vec<String>>,
}

/// All objects of a file. Errors: it is no YAML.
pub(super) fn sheets(text: &str, name: &str) -> Result<Vec<Sheet>> {
    let documents = penstock_crds::read(text.as_bytes(), name);
    let documents: Vec<_> =
        documents.into_iter().collect::<Result<_, _>>().context("read what is built in")?;
    let comments = comments(text);
    let sheet = |document: penstock_crds::Document| {
        let mut lines = BTreeMap::new();
        note(&document, &document.value, "", &mut lines);
        Sheet { value: document.value, lines, comments: comments.clone() }
    };
    Ok(documents.into_iter().map(sheet).collect())
}

/// The comments above each line that is none.
fn comments(text: &str) -> BTreeMap<u64, Vec<String>> {
    let (mut all, mut above) = (BTreeMap::new(), Vec::new());
    for (number, line) in (1..).zip(text.lines()) {
        match line.trim() {
            comment if comment.starts_with('#') => above.push(comment.to_owned()),
            "" | "---" => {}
            _ if above.is_empty() => {}
            _ => {
                all.insert(number, std::mem::take(&mut above));
            }
        }
    }
    all
}

fn note(document: &penstock_crds::Document, value: &Value, path: &str, lines: &mut BTreeMap<String, u64>) {
    for (inside, value) in children(value, path) {
        lines.extend(document.place(&inside).map(|place| (inside.clone(), place.line)));
        note(document, value, &inside, lines);
    }
}

/// What is inside a value, with its path as [`penstock_crds::Document::place`] takes it.
fn children<'a>(value: &'a Value, path: &str) -> Vec<(String, &'a Value)> {
    match value {
        Value::Object(fields) => fields.iter().map(|(name, value)| (within(path, name), value)).collect(),
        Value::Array(items) => {
            items.iter().enumerate().map(|(n, value)| (format!("{path}[{n}]"), value)).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

fn within(path: &str, name: &str) -> String {
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    match (path, plain) {
        ("", _) => name.to_owned(),
        (_, true) => format!("{path}.{name}"),
        (_, false) => format!("{path}[{name:?}]"),
    }
}

impl Sheet {
    pub(super) fn kind(&self) -> &str {
        self.value["kind"].as_str().unwrap_or_default()
    }

    /// Edits the object as a value.
    pub(super) fn value(&mut self) -> &mut Value {
        &mut self.value
    }

    /// Edits the object by its type. Errors: it is no such object.
    pub(super) fn typed<T: DeserializeOwned + Serialize>(&mut self, edit: impl FnOnce(&mut T)) -> Result<()> {
        let mut object: T = serde_json::from_value(self.value.clone()).context("read what is built in")?;
        edit(&mut object);
        self.value = serde_json::to_value(&object).context("write what is built in")?;
        Ok(())
    }

    /// The object as YAML.
    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        self.fields(&self.value, "", 0, &mut out);
        out
    }

    fn fields(&self, value: &Value, path: &str, depth: usize, out: &mut String) {
        let Value::Object(fields) = value else { return };
        let mut fields: Vec<_> =
            fields.iter().map(|(name, value)| (within(path, name), name, value)).collect();
        // What was added comes last.
        fields.sort_by_key(|(inside, _, _)| self.lines.get(inside).copied().unwrap_or(u64::MAX));
        for (inside, name, value) in fields {
            // The first field of an item stands on the item's line, which has had the comment.
            if self.lines.get(&inside) != self.lines.get(path) || path.is_empty() {
                self.comment(&inside, depth, out);
            }
            out.push_str(&format!("{}{}:", pad(depth), scalar(name)));
            self.rest(value, &inside, depth, out);
        }
    }

    /// What comes behind a name and its colon.
    fn rest(&self, value: &Value, path: &str, depth: usize, out: &mut String) {
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                out.push('\n');
                self.fields(value, path, depth + 1, out);
            }
            Value::Array(items) => match in_brackets(items) {
                Some(text) => out.push_str(&format!(" {text}\n")),
                None => {
                    out.push('\n');
                    self.items(items, path, depth + 1, out);
                }
            },
            Value::Object(_) => out.push_str(" {}\n"),
            Value::String(text) => out.push_str(&format!(" {}\n", scalar(text))),
            Value::Null | Value::Bool(_) | Value::Number(_) => out.push_str(&format!(" {value}\n")),
        }
    }

    fn items(&self, items: &[Value], path: &str, depth: usize, out: &mut String) {
        for (n, item) in items.iter().enumerate() {
            let inside = format!("{path}[{n}]");
            self.comment(&inside, depth, out);
            match item {
                Value::Object(fields) if !fields.is_empty() => {
                    let mut text = String::new();
                    self.fields(item, &inside, depth + 1, &mut text);
                    out.push_str(&format!("{}- {}", pad(depth), text.trim_start()));
                }
                Value::String(text) => out.push_str(&format!("{}- {}\n", pad(depth), scalar(text))),
                // As JSON has it, which is YAML too.
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                    out.push_str(&format!("{}- {item}\n", pad(depth)));
                }
            }
        }
    }

    fn comment(&self, path: &str, depth: usize, out: &mut String) {
        let above = self.lines.get(path).and_then(|line| self.comments.get(line));
        above.into_iter().flatten().for_each(|line| out.push_str(&format!("{}{line}\n", pad(depth))));
    }
}

fn pad(depth: usize) -> String {
    "  ".repeat(depth)
}

/// A short list of words as `[a, b]`.
fn in_brackets(items: &[Value]) -> Option<String> {
    let word = |item: &Value| {
        let text = item.as_str().filter(|text| !text.starts_with('-'))?;
        Some(scalar(text))
    };
    let words: Vec<String> = items.iter().map(word).collect::<Option<_>>()?;
    Some(format!("[{}]", words.join(", "))).filter(|text| text.len() <= WIDEST)
}

/// A text as a YAML scalar: bare where it can be taken for nothing else, otherwise as JSON has it.
fn scalar(text: &str) -> String {
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'/');
    let option = text.starts_with("--") && text.len() > 3;
    let inner = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"./_-=".contains(&b));
    let reserved = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let known = reserved.contains(&text.to_ascii_lowercase().as_str());
    if (first || option) && inner && !known { text.to_owned() } else { Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# what it is
# in two lines
kind: List
metadata:
  # why it has this name
  name: a
  labels:
    app.kubernetes.io/name: x
rules:
  # the first
  - verbs: [get, \"*\"]
    # inside
    number: 1
  # the second
  - verbs: [\"\"]
";

    #[test]
    fn what_is_not_edited_is_written_as_it_was() {
        let sheet = &sheets(TEXT, "text").unwrap()[0];
        assert_eq!(sheet.text(), TEXT);
    }

    #[test]
    fn what_is_edited_keeps_the_comments_around_it() {
        let mut sheet = sheets(TEXT, "text").unwrap().remove(0);
        sheet.value()["metadata"]["name"] = "b: # no comment".into();
        sheet.value()["added"] = serde_json::json!({"list": ["--a=1", "-"]});
        let edited = TEXT.replace("name: a", "name: \"b: # no comment\"")
            + "added:\n  list:\n    - --a=1\n    - \"-\"\n";
        assert_eq!(sheet.text(), edited);
    }

    #[test]
    fn any_text_comes_back_as_it_was() {
        let texts = [
            "",
            " ",
            "-",
            "--",
            "---",
            "true",
            "No",
            "~",
            "1e3",
            "0x1",
            "a: b",
            "a #b",
            "a\nb",
            "\"",
            "'",
            "[",
            "{",
            "*a",
            "&a",
            "!a",
            "%a",
            "@a",
            "`a",
            "|",
            ">",
            "a\u{85}b",
            "\u{feff}",
            "é",
            "--a=b",
            "--a=b: c",
            "/a",
            "12:30",
            "2001-01-01",
            "=",
            "<<",
            "null",
            "a,b",
            "?",
            "\t",
        ];
        for text in texts {
            let mut sheet = sheets(TEXT, "text").unwrap().remove(0);
            sheet.value()["metadata"]["name"] = text.into();
            sheet.value()["rules"][0]["verbs"] = serde_json::json!([text, text]);
            sheet.value()["metadata"]["labels"][text] = text.into();
            let read = sheets(&sheet.text(), "text").unwrap().remove(0);
            assert_eq!(read.value, sheet.value, "{text:?} in\n{}", sheet.text());
        }
    }
}
