//! The name of a revision.

use std::fmt::Write as _;

use penstock_core::revision::{InvalidRevision, Revision};
use serde_json::{Number, Value};
use sha2::{Digest, Sha256};

use crate::rollout::Template;

/// Hexadecimal digits in a revision's name: 40 bits, so that two templates of one Rollout hardly ever share one.
pub(crate) const DIGITS: usize = 10;

/// The revision of a pod template: the first 10 hexadecimal digits (lower case) of the SHA-256 of its canonical
/// JSON.
///
/// Canonical JSON is UTF-8 without white space; members of objects are sorted by the bytes of their names, and
/// those that are null are left out; strings escape `"`, `\` and the control characters below U+0020 (`\b`,
/// `\t`, `\n`, `\f`, `\r`, else `\u00xx` with lower-case digits) and nothing else; whole numbers are decimal;
/// other numbers are 64-bit floats as `1.25e-1`: the fewest digits that read back as the same number. The
/// template is hashed as it was written, fields unknown to this version included.
///
/// **This never changes**: another name for the same template would release it anew at an upgrade. Ten hexadecimal
/// digits are a valid name always; the error is there because [`Revision::new`] has one.
pub fn revision_of(template: &Template) -> Result<Revision, InvalidRevision> {
    let mut text = String::new();
    canonical(&template.0, &mut text);
    let digest = Sha256::digest(text.as_bytes());
    let mut name = String::with_capacity(DIGITS);
    for byte in digest.iter().take(DIGITS / 2) {
        // Writing to a String does not fail.
        let _ = write!(name, "{byte:02x}");
    }
    Revision::new(name)
}

fn canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().filter(|(_, v)| !v.is_null()).collect();
            members.sort_by(|a, b| a.0.as_bytes().cmp(b.0.as_bytes()));
            let write = |(name, value): (&String, &Value), out: &mut String| {
                out.push_str(&Value::String(name.clone()).to_string());
                out.push(':');
                canonical(value, out);
            };
            enclosed('{', members, '}', out, write);
        }
        Value::Array(items) => enclosed('[', items, ']', out, canonical),
        Value::Number(number) => out.push_str(&canonical_number(number)),
        Value::Null | Value::Bool(_) | Value::String(_) => out.push_str(&value.to_string()),
    }
}

/// 1.0 is 1: an API server writes it that way, too.
fn canonical_number(number: &Number) -> String {
    let whole = |f: &f64| f.fract() == 0.0 && f.abs() < 9e15;
    match number.as_f64() {
        Some(float) if number.is_f64() && whole(&float) => format!("{float:.0}"),
        Some(float) if number.is_f64() => format!("{float:e}"),
        Some(_) | None => number.to_string(),
    }
}

fn enclosed<T>(
    open: char,
    items: impl IntoIterator<Item = T>,
    close: char,
    out: &mut String,
    write: impl Fn(T, &mut String),
) {
    out.push(open);
    for (n, item) in items.into_iter().enumerate() {
        if n > 0 {
            out.push(',');
        }
        write(item, out);
    }
    out.push(close);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(value: &Value) -> String {
        let mut out = String::new();
        canonical(value, &mut out);
        out
    }

    #[test]
    fn canonical_json_is_pinned() {
        let value =
            json!({"b": [1, -2, 0.125, 3.0, 1e300, null], "a": {"z": null}, "é\"": "tab\t\u{1}\u{7f}ü/"});
        let expected = "{\"a\":{},\"b\":[1,-2,1.25e-1,3,1e300,null],\"é\\\"\":\"tab\\t\\u0001\u{7f}ü/\"}";
        assert_eq!(text(&value), expected);
    }

    #[test]
    fn names_of_templates_are_pinned() {
        let named = |value| revision_of(&Template(value)).unwrap().to_string();
        assert_eq!(named(json!({})), "44136fa355");
        let template = json!({
            "metadata": {"labels": {"app": "checkout"}},
            "spec": {"containers": [{"name": "web", "image": "checkout:v1", "ports": [{"containerPort": 8080}]}]},
        });
        assert_eq!(named(template), "46a8130252");
    }

    #[test]
    fn null_is_the_same_as_nothing_and_order_does_not_matter() {
        let one = Template(serde_json::from_str(r#"{"a":1,"b":null,"c":{"x":1,"y":2}}"#).unwrap());
        let other = Template(serde_json::from_str(r#"{"c":{"y":2,"x":1},"a":1}"#).unwrap());
        assert_eq!(revision_of(&one), revision_of(&other));
    }
}
