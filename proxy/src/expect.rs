//! `Expect: 100-continue`: the body of a request is asked for only when the endpoint wants it.

use std::time::Duration;

use http::header::EXPECT;
use http::{Request, request};
use tokio_util::sync::CancellationToken;

use crate::body::Gate;

/// How long an endpoint that says nothing is waited for (RFC 9110 section 10.1.1: not for ever).
const PATIENCE: Duration = Duration::from_secs(1);

/// The gate before the body of a request that expects to be told to continue. Asking the client's body for data is
/// what makes hyper send the 100.
pub(crate) fn gate(parts: &mut request::Parts) -> Option<Gate> {
    let expects = parts.headers.get(EXPECT)?.as_bytes().eq_ignore_ascii_case(b"100-continue");
    expects.then(|| {
        let open = CancellationToken::new();
        listen(parts, open.clone());
        let gate: Gate = Box::pin(async move {
            tokio::time::timeout(PATIENCE, open.cancelled_owned()).await.ok();
        });
        gate
    })
}

fn listen(parts: &mut request::Parts, open: CancellationToken) {
    let mut carrier = Request::new(());
    hyper::ext::on_informational(&mut carrier, move |response| {
        if response.status() == http::StatusCode::CONTINUE {
            open.cancel();
        }
    });
    parts.extensions.extend(std::mem::take(carrier.extensions_mut()));
}
