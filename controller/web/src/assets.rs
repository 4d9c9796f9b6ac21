//! The page itself, as it was built in.

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use sha2::{Digest, Sha256};

use crate::trouble::Trouble;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

macro_rules! asset {
    ($name:literal, $kind:expr) => {
        ($name, $kind, include_bytes!(concat!("../assets/", $name)))
    };
}

const INDEX: &[u8] = include_bytes!("../assets/index.html");

const ALL: [(&str, &str, &[u8]); 13] = [
    asset!("app.css", CSS),
    asset!("app.js", JS),
    asset!("api.js", JS),
    asset!("dom.js", JS),
    asset!("list.js", JS),
    asset!("release.js", JS),
    asset!("charts.js", JS),
    asset!("dialog.js", JS),
    asset!("text.js", JS),
    asset!("icon.svg", "image/svg+xml"),
    asset!("uplot/uPlot.iife.min.js", JS),
    asset!("uplot/uPlot.min.css", CSS),
    asset!("uplot/LICENSE", "text/plain; charset=utf-8"),
];

/// The page: what it shows is up to its address.
pub(crate) async fn index() -> Response {
    ([(header::CONTENT_TYPE, HTML)], INDEX).into_response()
}

/// One of its parts. Browsers keep it and ask whether it is still the same.
pub(crate) async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    let Some((_, kind, bytes)) = ALL.iter().find(|(known, ..)| *known == name) else {
        return Trouble::missing("the page has no such part").into_response();
    };
    let tag = tag(bytes);
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let mut response = match known {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => ([(header::CONTENT_TYPE, *kind)], *bytes).into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    response
}

fn tag(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    let hex: String = hash.iter().take(12).map(|byte| format!("{byte:02x}")).collect();
    format!("\"{hex}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(bytes: &[u8]) -> String {
        Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// What somebody else has written is as its registry gives it out.
    #[test]
    fn the_chart_library_is_the_released_one() {
        let source = include_str!("../assets/uplot/SOURCE");
        for (name, _, bytes) in ALL.iter().filter(|(name, ..)| name.starts_with("uplot/")) {
            let line = format!("{}  {}", hash(bytes), name.trim_start_matches("uplot/"));
            assert!(source.contains(&line), "{line}");
        }
    }

    /// The policy that goes with the page allows neither.
    #[test]
    fn the_page_has_no_script_or_style_in_its_text() {
        let index = std::str::from_utf8(INDEX).unwrap();
        assert!(!index.contains("<style") && !index.contains(" style=") && !index.contains(" on"), "{index}");
        assert_eq!(
            index.matches("<script").count(),
            index.matches("<script src=").count() + index.matches("<script type=\"module\" src=").count()
        );
        for (name, _, bytes) in
            ALL.iter().filter(|(name, kind, _)| *kind == JS && !name.starts_with("uplot/"))
        {
            let text = std::str::from_utf8(bytes).unwrap();
            for never in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
                assert!(!text.contains(never), "{name} has {never}");
            }
        }
    }

    #[test]
    fn every_part_that_the_page_names_is_there() {
        let index = std::str::from_utf8(INDEX).unwrap();
        let named = index.split("\"/assets/").skip(1).filter_map(|rest| rest.split('"').next());
        for name in named {
            assert!(ALL.iter().any(|(known, ..)| *known == name), "{name}");
        }
    }
}
