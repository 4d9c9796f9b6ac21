//! Bytes in both directions after a change of protocol.

use std::time::Duration;

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use penstock_proxy_api::Culprit;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};

use crate::record::Record;

const BUFFER: usize = 16 << 10;
/// How long the second direction may stay silent once the first one has ended.
const LINGER: Duration = Duration::from_secs(60);

/// Relays until both directions have ended. Early bytes of either side are part of hyper's `Upgraded`.
pub(crate) async fn relay(client: OnUpgrade, endpoint: OnUpgrade, mut record: Record) {
    let Ok(endpoint) = endpoint.await else { return record.blame(Culprit::Upstream) };
    let Ok(client) = client.await else { return record.blame(Culprit::Client) };
    match both_ways(client, endpoint).await {
        Ok(()) => record.finish(),
        Err(culprit) => record.blame(culprit),
    }
}

async fn both_ways(client: Upgraded, endpoint: Upgraded) -> Result<(), Culprit> {
    let (from_client, to_client) = split(TokioIo::new(client));
    let (from_endpoint, to_endpoint) = split(TokioIo::new(endpoint));
    let up = one_way(from_client, to_endpoint, [Culprit::Client, Culprit::Upstream]);
    let down = one_way(from_endpoint, to_client, [Culprit::Upstream, Culprit::Client]);
    tokio::pin!(up, down);
    tokio::select! {
        ended = &mut up => ended.and(linger(down).await),
        ended = &mut down => ended.and(linger(up).await),
    }
}

/// A peer that never ends its side after the other one has is cut off, and nobody is blamed.
async fn linger(rest: impl Future<Output = Result<(), Culprit>>) -> Result<(), Culprit> {
    tokio::time::timeout(LINGER, rest).await.unwrap_or(Ok(()))
}

/// Copies until the end. Errors: whose side failed, of `culprits` for reading and for writing.
async fn one_way(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    culprits: [Culprit; 2],
) -> Result<(), Culprit> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = from.read(&mut buffer).await.map_err(|_| culprits[0])?;
        if read == 0 {
            return to.shutdown().await.or(Ok(()));
        }
        to.write_all(&buffer[..read]).await.map_err(|_| culprits[1])?;
        to.flush().await.map_err(|_| culprits[1])?;
    }
}
