//! Takes connections: so many, for so long, with heads of such a size. More are told to come back.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use penstock_driver::view::View;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tower::ServiceExt;

use crate::guard::Hosts;
use crate::limits::Refused;
use crate::routes::{App, router};

/// Most connections at a time.
const CONNECTIONS: usize = 256;
/// A head is read in this time, the wait for it included.
const HEAD: Duration = Duration::from_secs(15);
/// Most bytes of a head: a token is in it.
const HEAD_BYTES: usize = 32 << 10;
/// A connection lasts no longer; the page opens another one.
const LONGEST: Duration = Duration::from_secs(900);
/// What a client hears when there are too many.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 2\r\nconnection: close\r\ncontent-type: text/plain\r\n\
    content-length: 59\r\n\r\ntoo many connections to this page: try again in 2 seconds\r\n";

/// What is served, and to whom.
pub struct Page {
    /// The Rollouts.
    pub view: Arc<dyn View>,
    /// Under which names it may be called.
    pub hosts: Hosts,
    /// Whether visitors need a token.
    pub tokens: bool,
}

/// Serves until it is dropped.
pub async fn serve(listener: TcpListener, page: Page) {
    let refused = Arc::new(Refused::default());
    let app = router(Arc::new(App::new(page, Arc::clone(&refused))));
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut open = JoinSet::new();
    loop {
        while open.try_join_next().is_some() {}
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            // No descriptor left, or the client has gone: neither is better at once.
            Err(error) => {
                tracing::warn!(%error, "the page can't take a connection");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        match Arc::clone(&room).try_acquire_owned() {
            Ok(permit) => {
                let app = app.clone();
                open.spawn(async move {
                    let _permit = permit;
                    let _ = timeout(LONGEST, attend(stream, peer, app)).await;
                });
            }
            Err(_) => {
                refused.tell("connections");
                // What does not fit into the socket's buffer is no loss.
                let _ = stream.try_write(FULL);
            }
        }
    }
}

async fn attend(stream: TcpStream, peer: SocketAddr, app: Router) {
    let _ = stream.set_nodelay(true);
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let app = app.clone();
        async move {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(peer);
            Ok::<_, Infallible>(app.oneshot(request).await.unwrap_or_else(|never| match never {}))
        }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(HEAD_BYTES);
    // A client that breaks off is no news.
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_answer_to_one_too_many_is_whole() {
        let text = std::str::from_utf8(super::FULL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
    }
}
