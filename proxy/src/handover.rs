//! Hands listening sockets over to the next process, so that a restart refuses no connection: whoever waits in the queue
//! of a socket is served by the process that has it.
//!
//! The one that runs listens on a Unix socket. The next one connects to it, gets copies of all sockets, and confirms
//! when it serves. Only then does the first one stop accepting.

use std::collections::BTreeMap;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use rustix::net::sockopt::socket_peercred;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

/// Sockets by the address that they were opened for.
pub(crate) type Sockets = BTreeMap<SocketAddr, Vec<TcpListener>>;

/// Sockets in a message, and bytes of its text: an address, or nothing at the end.
const MAX_SOCKETS: usize = 64;
const TEXT: usize = 64;
/// Messages of one hand-over.
const MAX_MESSAGES: usize = 100_000;
/// The next one reads in this time.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// The next one says so when it serves in this time, or nothing is handed over.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(300);
const CONFIRMED: u8 = b'R';

/// What the process before has left. It goes on until it hears that this one serves.
#[derive(Debug)]
pub(crate) struct Legacy {
    stream: UnixStream,
}

/// Asks the process that listens on `path` for its sockets. `None`: there is none.
pub(crate) fn claim(path: &Path) -> io::Result<Option<(Legacy, Sockets)>> {
    let stream = match UnixStream::connect(path) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    stream.set_read_timeout(Some(SEND_TIMEOUT))?;
    let mut sockets = Sockets::new();
    for _ in 0..MAX_MESSAGES {
        let Some((address, some)) = receive(&stream)? else { return Ok(Some((Legacy { stream }, sockets))) };
        sockets.entry(address).or_default().extend(some);
    }
    Err(io::Error::other("too many sockets"))
}

impl Legacy {
    /// Says that this process serves.
    pub(crate) fn confirm(mut self) -> io::Result<()> {
        self.stream.write_all(&[CONFIRMED])
    }
}

/// Listens for the next process. Nobody else does: whoever did has left its sockets to this one. A file that is no
/// socket is somebody's own, and stays.
///
/// The socket gets its name when it listens: whoever finds it before that would be refused, and take this process for a
/// dead one.
pub(crate) fn listen(path: &Path) -> io::Result<UnixListener> {
    let is_socket = |path: &Path| std::fs::symlink_metadata(path).map(|there| there.file_type().is_socket());
    if is_socket(path).is_ok_and(|is| !is) {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    let draft = path.with_added_extension("new");
    if is_socket(&draft).unwrap_or(false) {
        std::fs::remove_file(&draft)?;
    }
    let listener = UnixListener::bind(&draft)?;
    std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&draft, path)?;
    Ok(listener)
}

/// Gives `copies` of all sockets to each process of this user that asks, until one confirms that it serves.
pub(crate) fn serve(listener: &UnixListener, copies: impl Fn() -> io::Result<Sockets>) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept()?;
        match give(stream, &copies) {
            Ok(()) => return Ok(()),
            Err(error) => tracing::warn!(%error, "sockets are not handed over"),
        }
    }
}

fn give(mut stream: UnixStream, copies: &impl Fn() -> io::Result<Sockets>) -> io::Result<()> {
    if socket_peercred(&stream)?.uid != rustix::process::geteuid() {
        return Err(io::Error::other("somebody else asks for them"));
    }
    stream.set_write_timeout(Some(SEND_TIMEOUT))?;
    stream.set_read_timeout(Some(CONFIRM_TIMEOUT))?;
    for (address, sockets) in copies()? {
        for some in sockets.chunks(MAX_SOCKETS) {
            send(&stream, &address.to_string(), some)?;
        }
    }
    send(&stream, "", &[])?;
    let mut answer = [0];
    stream.read_exact(&mut answer)?;
    if answer == [CONFIRMED] { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

fn send(stream: &UnixStream, text: &str, sockets: &[TcpListener]) -> io::Result<()> {
    let bytes = format!("{text:<TEXT$}").into_bytes();
    let rights: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_SOCKETS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !rights.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&rights)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let sent = sendmsg(stream, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)?;
    if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// The next message; `None` at the end. The kernel keeps messages with sockets apart from others.
fn receive(stream: &UnixStream) -> io::Result<Option<(SocketAddr, Vec<TcpListener>)>> {
    let mut bytes = [0; TEXT];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_SOCKETS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = recvmsg(stream, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    if message.bytes != TEXT {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let rights = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(rights) => Some(rights),
        RecvAncillaryMessage::ScmCredentials(_) | _ => None,
    });
    let sockets: Vec<TcpListener> = rights.flatten().map(|right: OwnedFd| TcpListener::from(right)).collect();
    let text = std::str::from_utf8(&bytes).map_err(|_| io::ErrorKind::InvalidData)?.trim_end();
    if text.is_empty() {
        return Ok(None);
    }
    Ok(Some((text.parse().map_err(|_| io::ErrorKind::InvalidData)?, sockets)))
}
