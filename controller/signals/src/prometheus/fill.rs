//! Names inside of PromQL.

use penstock_core::sample::{NoData, Question};

use crate::RolloutName;

/// Longest query of a user, in bytes.
const MAX_QUERY: usize = 16 << 10;

/// A user's query with its placeholders filled. Errors: an unknown placeholder, or a value that could break out
/// of the string it stands in.
pub(super) fn fill(query: &str, question: &Question, rollout: &RolloutName) -> Result<String, NoData> {
    if query.len() > MAX_QUERY {
        return Err(NoData(format!("the query is longer than {MAX_QUERY} bytes; use a recording rule")));
    }
    let mut filled = String::with_capacity(query.len());
    let mut rest = query;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((placeholder, after)) = after.split_once("}}") else {
            return Err(NoData(format!("the query has `{{{{` without `}}}}`: `{{{{{after}`")));
        };
        filled.push_str(before);
        filled.push_str(known(placeholder.trim(), question, rollout)?);
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

fn known<'a>(placeholder: &str, question: &'a Question, rollout: &'a RolloutName) -> Result<&'a str, NoData> {
    let value = match placeholder {
        "revision" => question.revision.as_str(),
        "stable" => question.stable.as_str(),
        "rollout" => &rollout.name,
        "namespace" => &rollout.namespace,
        unknown => {
            return Err(NoData(format!(
                "the query has an unknown placeholder `{{{{{unknown}}}}}`; \
                 known are {{{{revision}}}}, {{{{stable}}}}, {{{{rollout}}}} and {{{{namespace}}}}"
            )));
        }
    };
    if value.bytes().all(plain) { Ok(value) } else { Err(unsafe_value(placeholder, value)) }
}

/// What needs no escape in any of PromQL's three kinds of string.
fn plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')
}

fn unsafe_value(placeholder: &str, value: &str) -> NoData {
    NoData(format!(
        "{{{{{placeholder}}}}} is `{}`, which can't stand in a query: expected letters, digits, `-`, `.` and `_`",
        value.escape_default()
    ))
}

/// A PromQL string, quotes included.
pub(super) fn quoted(value: &str) -> String {
    let mut quoted = String::with_capacity(value.len() + 2);
    quoted.push('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A regular expression that matches just this text.
pub(super) fn literal(text: &str) -> String {
    let mut literal = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii() && !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_') {
            literal.push('\\');
        }
        literal.push(c);
    }
    literal
}
