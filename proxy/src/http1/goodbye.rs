//! The end of a connection whose client may still be sending: without this, the kernel would reset the connection, and
//! the client might lose the answer (RFC 9112 section 9.6).

use std::future::poll_fn;
use std::task::{Context, Poll};

use penstock_proxy_core::balance::Tick;
use tokio::io::AsyncWriteExt;

use crate::http1::connection::Connection;

/// How long what the client sends is read and thrown away, in milliseconds.
const PATIENCE: u64 = 2000;
/// Most of it.
const MOST: usize = 4 << 20;

/// Ends a connection with a client that may still be sending.
pub(crate) async fn say(mut connection: Connection) {
    connection.client.inlet.give_back();
    if connection.client.ended || connection.client.stream.shutdown().await.is_err() {
        return;
    }
    connection.alarm.set(Tick(connection.worker.now().0 + PATIENCE));
    let mut read = 0;
    poll_fn(|cx| throw_away(&mut connection, cx, &mut read)).await;
}

fn throw_away(connection: &mut Connection, cx: &mut Context<'_>, read: &mut usize) -> Poll<()> {
    loop {
        if connection.alarm.has_rung() && connection.alarm.is_over(connection.worker.now()) {
            return Poll::Ready(());
        }
        match connection.client.poll_fill(cx, false) {
            Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
            Poll::Ready(Ok(count)) => *read += count,
            Poll::Pending => return Poll::Pending,
        }
        connection.client.inlet.give_back();
        if *read > MOST {
            return Poll::Ready(());
        }
    }
}
