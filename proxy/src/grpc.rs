//! What gRPC says outside of HTTP's status.

use http::HeaderMap;
use http::header::CONTENT_TYPE;

/// Statuses that are the server's fault: UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE, DATA_LOSS.
const FAILURES: [&str; 5] = ["2", "4", "13", "14", "15"];

/// Whether a message is gRPC, by its content type (`application/grpc`, with or without `+proto` and the like;
/// gRPC-Web is another protocol).
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| is_type(value.as_bytes()))
}

/// Whether this content type is gRPC's.
pub(crate) fn is_type(content_type: &[u8]) -> bool {
    let rest = content_type.strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// Whether a gRPC response has failed. Its status stands in the trailers, or in the head when there is no body; one
/// without any status has been cut short.
pub(crate) fn is_failure(trailers: Option<&HeaderMap>) -> bool {
    let status = trailers.and_then(|t| t.get("grpc-status")).and_then(|v| v.to_str().ok());
    status.is_none_or(|status| FAILURES.contains(&status))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(http::HeaderName::from_static(name), value.parse().unwrap())])
    }

    #[test]
    fn grpc_is_told_from_its_neighbours() {
        for (value, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;charset=utf-8", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            assert_eq!(is_grpc(&headers("content-type", value)), expected, "{value}");
        }
    }

    #[test]
    fn only_the_servers_own_statuses_are_failures() {
        for status in 0..17 {
            let failed = is_failure(Some(&headers("grpc-status", &status.to_string())));
            assert_eq!(failed, [2, 4, 13, 14, 15].contains(&status), "{status}");
        }
        assert!(is_failure(Some(&HeaderMap::new())));
        assert!(is_failure(None));
    }
}
