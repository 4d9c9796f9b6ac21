//! The end of a connection whose client may still be sending: without this, the kernel would reset the connection, and
//! the client might lose the answer (RFC 9112 section 9.6).

use std::future::poll_fn;
use std::task::{Context, Poll};

use penstock_proxy_core::balance::Tick;
use tokio::io::AsyncWriteExt;

use crate::http1::alarm::Alarm;
use crate::http1::side::Side;
use crate::worker::Worker;

/// How long what the client sends is read and thrown away, in milliseconds.
const PATIENCE: u64 = 2000;
/// Most of it.
const MOST: usize = 4 << 20;

/// Ends a connection with a client that may still be sending.
pub(crate) async fn say(client: &mut Side, alarm: &Alarm, worker: &Worker) {
    client.inlet.give_back();
    if client.ended || client.stream.shutdown().await.is_err() {
        return;
    }
    alarm.set(Tick(worker.now().0 + PATIENCE));
    let mut read = 0;
    poll_fn(|cx| {
        if alarm.has_rung() && alarm.is_over(worker.now()) {
            Poll::Ready(())
        } else {
            throw_away(client, cx, &mut read)
        }
    })
    .await;
}

fn throw_away(client: &mut Side, cx: &mut Context<'_>, read: &mut usize) -> Poll<()> {
    loop {
        match client.poll_fill(cx, false) {
            Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
            Poll::Ready(Ok(count)) => *read += count,
            Poll::Pending => return Poll::Pending,
        }
        client.inlet.give_back();
        if *read > MOST {
            return Poll::Ready(());
        }
    }
}
