//! The text exposition format of Prometheus, version 0.0.4, as strictly as a proxy of ours writes it.

use std::collections::BTreeMap;
use std::str::Lines;

use penstock_proxy_api::metric;

use crate::MAX_ANSWER;

/// What one proxy exposed: the series of the request counter and of the latency histogram's buckets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exposition {
    series: BTreeMap<Series, f64>,
}

/// What tells one line of it from the others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Series {
    pub(super) name: String,
    labels: BTreeMap<String, String>,
}

/// A text that is not in the format, or only a part of one.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Cut short on its way.
    #[error("the metrics end in mid-line: the answer was cut short")]
    CutShort,
    /// More than is read.
    #[error("the metrics are longer than {MAX_ANSWER} bytes")]
    TooLong,
    /// A line that can't be read.
    #[error("line {number} of the metrics can't be read ({what}): {line}")]
    Line {
        /// Counted from 1.
        number: usize,
        /// What is wrong with it.
        what: &'static str,
        /// Its beginning.
        line: String,
    },
}

impl Exposition {
    /// Reads a whole text. Series of other names are checked for form and left out.
    pub fn parse(text: &str) -> Result<Exposition, Malformed> {
        if text.len() > MAX_ANSWER {
            return Err(Malformed::TooLong);
        }
        if !text.is_empty() && !text.ends_with('\n') {
            return Err(Malformed::CutShort);
        }
        let series = read(text.lines())?;
        Ok(Exposition { series })
    }

    pub(super) fn series(&self) -> &BTreeMap<Series, f64> {
        &self.series
    }
}

impl Series {
    /// A label's value; empty when it is not there, which is the same in Prometheus.
    pub(super) fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

fn read(lines: Lines<'_>) -> Result<BTreeMap<Series, f64>, Malformed> {
    let bucket = format!("{}_bucket", metric::LATENCY);
    let mut kept = BTreeMap::new();
    for (index, line) in lines.enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong =
            |what| Malformed::Line { number: index + 1, what, line: line.chars().take(120).collect() };
        let (series, value) = sample(line).map_err(wrong)?;
        let wanted = series.name == metric::REQUESTS || series.name == bucket;
        if wanted && kept.insert(series, value).is_some() {
            return Err(wrong("a series given twice"));
        }
    }
    Ok(kept)
}

fn sample(line: &str) -> Result<(Series, f64), &'static str> {
    let end = line.find(|c: char| !name_char(c)).ok_or("no value")?;
    let (name, rest) = line.split_at(end);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err("no name");
    }
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (BTreeMap::new(), rest),
    };
    Ok((Series { name: name.to_owned(), labels }, value(rest)?))
}

fn name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

/// Labels up to the closing brace, and what follows it.
fn labels(mut rest: &str) -> Result<(BTreeMap<String, String>, &str), &'static str> {
    let mut labels = BTreeMap::new();
    loop {
        rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix('}') {
            return Ok((labels, after));
        }
        let (name, after) = rest.split_once('=').ok_or("a label without value")?;
        let (value, after) = quoted(after.trim_start())?;
        if labels.insert(name.trim().to_owned(), value).is_some() {
            return Err("a label given twice");
        }
        rest = after.trim_start();
        match rest.strip_prefix(',') {
            Some(after) => rest = after,
            None if rest.starts_with('}') => {}
            None => return Err("labels without comma between them"),
        }
    }
}

/// A string in double quotes, and what follows it.
fn quoted(text: &str) -> Result<(String, &str), &'static str> {
    let text = text.strip_prefix('"').ok_or("a label value without quotes")?;
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => value.push(unescape(chars.next())?),
            c => value.push(c),
        }
    }
    Err("a label value without end")
}

fn unescape(next: Option<(usize, char)>) -> Result<char, &'static str> {
    match next {
        Some((_, 'n')) => Ok('\n'),
        Some((_, c @ ('"' | '\\'))) => Ok(c),
        _ => Err("an unknown escape in a label value"),
    }
}

fn value(rest: &str) -> Result<f64, &'static str> {
    let mut words = rest.split_ascii_whitespace();
    let value = words.next().ok_or("no value")?.parse().map_err(|_| "a value that is no number")?;
    let timestamp = words.next();
    if timestamp.is_some_and(|t| t.parse::<i64>().is_err()) || words.next().is_some() {
        return Err("more than a value and a timestamp");
    }
    Ok(value)
}
