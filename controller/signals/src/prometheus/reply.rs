//! The envelope around an answer of Prometheus.

use penstock_core::sample::NoData;
use prometheus_http_query::response::PromqlResult;
use serde::Deserialize;

/// Longest part of somebody else's message that is passed on, in characters.
const MAX_QUOTE: usize = 300;

#[derive(Deserialize)]
struct Envelope {
    status: String,
    data: Option<PromqlResult>,
    error: Option<String>,
    #[serde(default)]
    warnings: Vec<String>,
}

/// Opens the body of an answer of `/api/v1/query`, sent with the HTTP status `status`.
///
/// Warnings make it [`NoData`]: with them Prometheus and its kin announce that a part of the data is missing.
pub fn reply(status: u16, body: &[u8]) -> Result<PromqlResult, NoData> {
    let Ok(envelope) = serde_json::from_slice::<Envelope>(body) else {
        return Err(not_understood(status, body));
    };
    if let Some(error) = envelope.error {
        return Err(NoData(format!("Prometheus refused the query (HTTP {status}): {}", quote(&error))));
    }
    if let Some(warning) = envelope.warnings.first() {
        return Err(NoData(format!("half an answer, Prometheus warns: {}", quote(warning))));
    }
    match envelope.data {
        Some(data) if envelope.status == "success" && status == 200 => Ok(data),
        _ => Err(not_understood(status, body)),
    }
}

fn not_understood(status: u16, body: &[u8]) -> NoData {
    let seen = quote(&String::from_utf8_lossy(&body[..body.len().min(MAX_QUOTE)]));
    NoData(match status {
        200 => format!(
            "the answer can't be understood; expected numbers as Prometheus' /api/v1/query gives them, \
             and got: {seen}"
        ),
        300..=399 => format!("answers HTTP {status} (redirect); give the address that it points to"),
        401 | 403 => format!("answers HTTP {status}; it wants credentials: {seen}"),
        404 => "answers HTTP 404; is this Prometheus, and does the address need a path prefix?".to_owned(),
        _ => format!("answers HTTP {status}: {seen}"),
    })
}

fn quote(text: &str) -> String {
    let printable = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    printable.take(MAX_QUOTE).collect()
}
