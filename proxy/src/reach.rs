//! Opens connections to endpoints.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// How long a connection may take to open, if another endpoint can be tried.
const HURRY: Duration = Duration::from_millis(500);
/// How long it may take if none can: time for the kernel to repeat a lost packet twice.
const PATIENCE: Duration = Duration::from_millis(3500);
/// After how long a silence the kernel asks whether an endpoint is still there, and how often it repeats that.
const KEEPALIVE: TcpKeepalive =
    TcpKeepalive::new().with_time(Duration::from_secs(10)).with_interval(Duration::from_secs(5));
/// For how long an endpoint's kernel may leave unanswered what was sent to it, before it counts as unreachable.
const UNANSWERED: Duration = Duration::from_secs(5);
/// The same for a connection on which a long body is sent: the kernel counts an endpoint that is there, and does not
/// read, as one that does not answer.
const STALLED: Duration = Duration::from_secs(120);

/// How long a connection may take to open.
pub(crate) fn patience(hurry: &dyn Fn() -> bool) -> Duration {
    if hurry() { HURRY } else { PATIENCE }
}

/// Why `address` takes no connection, if it takes none.
pub(crate) async fn refuses(address: SocketAddr) -> Option<io::Error> {
    open(address, HURRY).await.err()
}

/// Opens a connection.
pub(crate) async fn open(address: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
    let connecting = tokio::time::timeout(patience, TcpStream::connect(address));
    let stream = connecting.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    stream.set_nodelay(true)?;
    let socket = SockRef::from(&stream);
    socket.set_tcp_keepalive(&KEEPALIVE)?;
    expect_stalls(&socket, false)?;
    Ok(stream)
}

/// Says whether what was sent may stay unanswered for long, where the system knows that.
pub(crate) fn expect_stalls(socket: &socket2::Socket, stalls: bool) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    return socket.set_tcp_user_timeout(Some(if stalls { STALLED } else { UNANSWERED }));
    #[cfg(not(target_os = "linux"))]
    return {
        _ = (socket, stalls, STALLED, UNANSWERED);
        Ok(())
    };
}
