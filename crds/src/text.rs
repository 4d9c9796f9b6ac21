//! Values that a person writes as text: durations, percentages, quantiles, numbers.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::refusal::Complaint;

/// A text with a form that the schema checks by a CEL rule.
macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $longest:literal, $rule:literal, $message:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl $name {
            const LONGEST: usize = $longest;
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": "string",
                    "maxLength": $longest,
                    "x-kubernetes-validations": [{"rule": $rule, "message": $message}],
                })
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> $name {
                $name(text.to_owned())
            }
        }
    };
}

text!(
    /// A duration with its unit: `500ms`, `30s`, `5m`, `1h30m`.
    DurationText,
    32,
    r"self.matches('^([0-9]+(ms|s|m|h))+$')",
    "a duration is whole numbers with units: write 500ms, 30s, 5m or 1h30m"
);
text!(
    /// A share in percent: `1%`, `99.9%`.
    PercentText,
    16,
    r"self.matches('^[0-9]+([.][0-9]+)?%$')",
    "a share has a percent sign: write \"1%\" or \"99.9%\""
);
text!(
    /// A quantile between 0 and 1: `0.99`.
    QuantileText,
    16,
    r"self.matches('^0?[.][0-9]+$') && double(self) > 0.0",
    "a quantile is a text between 0 and 1: write \"0.99\" for p99"
);
text!(
    /// A number as text: `5`, `-0.25`, `1e6`.
    NumberText,
    32,
    r"self.matches('^-?[0-9]+([.][0-9]+)?([eE][-+]?[0-9]+)?$')",
    "a limit is a number in quotes: write \"5\" or \"0.25\""
);

/// Longer than any release: 30 days.
const LONGEST_DURATION: Duration = Duration::from_secs(30 * 24 * 3600);

impl DurationText {
    pub(crate) fn parse(&self) -> Result<Duration, Complaint> {
        let text = self.0.as_str();
        if text.len() > Self::LONGEST {
            return Err(too_long(Self::LONGEST));
        }
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
            let remedy = format!("write {text}s, {text}m or {text}h");
            return Err(Complaint::new(format!("the duration `{text}` has no unit"), remedy));
        }
        let Some(parts) = duration_parts(text) else {
            return Err(Complaint::new(format!("`{text}` is no duration"), duration_remedy(text)));
        };
        let whole = parts.into_iter().try_fold(Duration::ZERO, |sum, (number, unit)| {
            let part = number.checked_mul(unit).map(Duration::from_millis)?;
            sum.checked_add(part).filter(|sum| *sum <= LONGEST_DURATION)
        });
        whole.ok_or_else(|| Complaint::new(format!("`{text}` is too long"), "write 720h (30 days) or less"))
    }
}

/// Numbers and the milliseconds of their units.
fn duration_parts(text: &str) -> Option<Vec<(u64, u64)>> {
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        let (unit, after) = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)]
            .into_iter()
            .find_map(|(name, millis)| Some((millis, after.strip_prefix(name)?)))?;
        // Too large a number fails later as too long a duration.
        parts.push((number.parse().unwrap_or(if digits > 0 { u64::MAX } else { return None }), unit));
        rest = after;
    }
    (!parts.is_empty()).then_some(parts)
}

fn duration_remedy(text: &str) -> String {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim().to_ascii_lowercase();
    let known = match unit.as_str() {
        "d" | "day" | "days" => {
            number.parse::<u64>().ok().map(|days| format!("{}h", days.saturating_mul(24)))
        }
        "h" | "hour" | "hours" | "hr" => Some(format!("{number}h")),
        "m" | "min" | "mins" | "minute" | "minutes" => Some(format!("{number}m")),
        "s" | "sec" | "secs" | "second" | "seconds" => Some(format!("{number}s")),
        "ms" | "msec" | "millis" | "milliseconds" => Some(format!("{number}ms")),
        _ => None,
    };
    match known.filter(|_| digits > 0) {
        Some(known) => format!("write {known}"),
        None => "write whole numbers with units, for instance 500ms, 30s, 5m or 1h30m".to_owned(),
    }
}

impl PercentText {
    /// The share itself: `1%` is 0.01.
    pub(crate) fn parse(&self) -> Result<f64, Complaint> {
        let text = self.0.as_str();
        if text.len() > Self::LONGEST {
            return Err(too_long(Self::LONGEST));
        }
        let number = text.strip_suffix('%').unwrap_or(text);
        let Some(percent) = decimal(number) else {
            let remedy = "write a number with a percent sign, for instance \"1%\" or \"99.9%\"";
            return Err(Complaint::new(format!("`{text}` is no percentage"), remedy));
        };
        if number.len() == text.len() {
            let remedy = format!("write \"{number}%\"{}", fraction_hint(percent));
            return Err(Complaint::new(format!("`{text}` has no percent sign"), remedy));
        }
        Ok(rounded(percent / 100.0))
    }
}

fn fraction_hint(number: f64) -> String {
    let meant = number > 0.0 && number < 1.0;
    if meant {
        format!(", or \"{}%\" if a fraction was meant", rounded(number * 100.0))
    } else {
        String::new()
    }
}

impl QuantileText {
    pub(crate) fn parse(&self) -> Result<f64, Complaint> {
        let text = self.0.as_str();
        if text.len() > Self::LONGEST {
            return Err(too_long(Self::LONGEST));
        }
        let bare = text.trim_start_matches(['p', 'P']).trim_end_matches('%');
        let Some(number) = decimal(bare) else {
            let remedy = "write a number between 0 and 1, for instance \"0.99\" for p99";
            return Err(Complaint::new(format!("`{text}` is no quantile"), remedy));
        };
        if bare.len() == text.len() && number > 0.0 && number < 1.0 {
            return Ok(number);
        }
        let meant = if (1.0..100.0).contains(&number) { rounded(number / 100.0) } else { 0.99 };
        let problem = format!("the quantile `{text}` is not between 0 and 1");
        Err(Complaint::new(problem, format!("write \"{meant}\"")))
    }
}

impl NumberText {
    pub(crate) fn parse(&self) -> Result<f64, Complaint> {
        let text = self.0.as_str();
        if text.len() > Self::LONGEST {
            return Err(too_long(Self::LONGEST));
        }
        let plain = text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
        let number = text.parse::<f64>().ok().filter(|n| plain && n.is_finite());
        let remedy = "write a number in quotes, for instance \"5\" or \"0.25\"";
        number.ok_or_else(|| Complaint::new(format!("`{text}` is no number"), remedy))
    }
}

/// A plain decimal number without sign and exponent.
fn decimal(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    text.parse::<f64>().ok().filter(|n| plain && n.is_finite())
}

/// Without the dust of binary fractions: 99.9 % leaves exactly what 0.1 % is.
pub(crate) fn rounded(number: f64) -> f64 {
    (number * 1e12).round() / 1e12
}

fn too_long(longest: usize) -> Complaint {
    Complaint::new("the text is too long", format!("write at most {longest} characters"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_whole_numbers_with_units() {
        let good = [("500ms", 500), ("30s", 30_000), ("5m", 300_000), ("1h30m", 5_400_000), ("0s", 0)];
        for (text, millis) in good {
            assert_eq!(DurationText::from(text).parse(), Ok(Duration::from_millis(millis)), "{text}");
        }
        let bad = [
            ("5", "write 5s, 5m or 5h"),
            ("2d", "write 48h"),
            ("5 min", "write 5m"),
            ("1.5s", "write whole numbers with units, for instance 500ms, 30s, 5m or 1h30m"),
            ("-5m", "write whole numbers with units, for instance 500ms, 30s, 5m or 1h30m"),
            ("m", "write whole numbers with units, for instance 500ms, 30s, 5m or 1h30m"),
            ("", "write whole numbers with units, for instance 500ms, 30s, 5m or 1h30m"),
            ("99999999999999999999999h", "write 720h (30 days) or less"),
            ("1h1h1h1h1h1h1h1h1h1h1h1h1h1h1h1h1h1h", "write at most 32 characters"),
        ];
        for (text, remedy) in bad {
            assert_eq!(DurationText::from(text).parse().unwrap_err().remedy, remedy, "{text}");
        }
    }

    #[test]
    fn percentages_have_their_sign() {
        assert_eq!(PercentText::from("99.9%").parse(), Ok(0.999));
        assert_eq!(PercentText::from("0.1%").parse(), Ok(0.001));
        let bad = [("1", "write \"1%\""), ("0.01", "write \"0.01%\", or \"1%\" if a fraction was meant")];
        for (text, remedy) in bad {
            assert_eq!(PercentText::from(text).parse().unwrap_err().remedy, remedy);
        }
        for text in ["", "%", "-1%", "1e3%", "one", "1 %", "NaN%", "inf%"] {
            assert!(PercentText::from(text).parse().is_err(), "{text}");
        }
    }

    #[test]
    fn a_quantile_of_99_is_told_what_was_meant() {
        assert_eq!(QuantileText::from("0.99").parse(), Ok(0.99));
        let bad = [
            ("99", "0.99"),
            ("99.9", "0.999"),
            ("p95", "0.95"),
            ("99%", "0.99"),
            ("1", "0.01"),
            ("0", "0.99"),
        ];
        for (text, meant) in bad {
            assert_eq!(QuantileText::from(text).parse().unwrap_err().remedy, format!("write \"{meant}\""));
        }
        assert!(QuantileText::from("ninety").parse().is_err());
    }

    #[test]
    fn numbers_are_finite() {
        assert_eq!(NumberText::from("-1.5e-3").parse(), Ok(-0.0015));
        for text in ["NaN", "inf", "1e999", "", "5 %"] {
            assert!(NumberText::from(text).parse().is_err(), "{text}");
        }
    }
}
