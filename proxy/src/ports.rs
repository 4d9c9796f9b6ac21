//! Opens ports: one socket for each thread, the kernel spreads connections among them.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Mutex, MutexGuard, PoisonError};

use socket2::{Domain, Protocol, Socket, Type};

use crate::handover::Sockets;

const BACKLOG: i32 = 4096;

/// The ports of this proxy.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    /// Sockets that the process before has left and that are not in use yet.
    left: Mutex<Sockets>,
    /// Copies of those in use, for the process after this one; `None`: it gets none.
    kept: Option<Mutex<Sockets>>,
}

impl Ports {
    /// With the sockets that the process before has left. `kept`: there may be one after this.
    pub(crate) fn new(left: Sockets, kept: bool) -> Ports {
        Ports { left: Mutex::new(left), kept: kept.then(Mutex::default) }
    }

    /// Opens `address`: `count` times at least.
    pub(crate) fn open(&self, address: SocketAddr, count: usize) -> Result<Vec<TcpListener>, PortError> {
        let sockets = match locked(&self.left).remove(&address) {
            Some(left) => more(address, left, count),
            None => open(address, count),
        };
        let sockets = sockets.map_err(|source| PortError::new(address, source))?;
        self.keep(address, &sockets).map_err(|source| PortError::new(address, source))?;
        Ok(sockets)
    }

    /// Opens an address that is served by one socket.
    pub(crate) fn open_one(&self, address: SocketAddr) -> io::Result<TcpListener> {
        let left = locked(&self.left).remove(&address).and_then(|mut left| left.pop());
        let listener = left.map_or_else(|| socket(address, false), Ok)?;
        self.keep(address, std::slice::from_ref(&listener))?;
        Ok(listener)
    }

    fn keep(&self, address: SocketAddr, sockets: &[TcpListener]) -> io::Result<()> {
        if let Some(kept) = &self.kept {
            let copies = sockets.iter().map(TcpListener::try_clone).collect::<io::Result<_>>()?;
            locked(kept).insert(address, copies);
        }
        Ok(())
    }

    /// Nobody accepts from `address` any more.
    pub(crate) fn close(&self, address: SocketAddr) {
        self.kept.iter().for_each(|kept| drop(locked(kept).remove(&address)));
    }

    /// Nobody accepts any more.
    pub(crate) fn close_all(&self) {
        self.kept.iter().for_each(|kept| locked(kept).clear());
        self.forget();
    }

    /// What the process before has left and nobody has asked for is not wanted.
    pub(crate) fn forget(&self) {
        locked(&self.left).clear();
    }

    /// Copies of the sockets in use.
    pub(crate) fn copies(&self) -> io::Result<Sockets> {
        let Some(kept) = &self.kept else { return Ok(Sockets::new()) };
        let copy = |(address, sockets): (&SocketAddr, &Vec<TcpListener>)| {
            let copies = sockets.iter().map(TcpListener::try_clone);
            Ok((*address, copies.collect::<io::Result<_>>()?))
        };
        locked(kept).iter().map(copy).collect()
    }
}

fn locked(sockets: &Mutex<Sockets>) -> MutexGuard<'_, Sockets> {
    sockets.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As many sockets as there are, and more of them if these are fewer than `count`.
fn more(address: SocketAddr, mut left: Vec<TcpListener>, count: usize) -> io::Result<Vec<TcpListener>> {
    while left.len() < count {
        left.push(socket(address, true)?);
    }
    Ok(left)
}

/// A port that can't be listened on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PortError {
    #[error(
        "port {0} is in use by another program; stop that one, or choose another port; it is tried again each second"
    )]
    InUse(u16),
    #[error("port {0} needs a privilege that this process has not; choose one from 1024 on")]
    Privileged(u16),
    #[error("can't listen on {address}: {error}; it is tried again each second")]
    Other { address: SocketAddr, error: io::Error },
}

/// Opens `address` `count` times.
fn open(address: SocketAddr, count: usize) -> io::Result<Vec<TcpListener>> {
    drop(socket(address, false)?);
    (0..count).map(|_| socket(address, true)).collect()
}

impl PortError {
    fn new(address: SocketAddr, source: io::Error) -> PortError {
        let kind = source.kind();
        if kind == io::ErrorKind::AddrInUse {
            PortError::InUse(address.port())
        } else if kind == io::ErrorKind::PermissionDenied {
            PortError::Privileged(address.port())
        } else {
            PortError::Other { address, error: source }
        }
    }
}

/// Not `shared`, it fails if anybody listens there, also another proxy, which would share the port silently.
fn socket(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_port_in_use_is_said_to_be_in_use_even_by_a_proxy() {
        let ports = Ports::default();
        let first = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = first.local_addr().unwrap();
        assert!(matches!(ports.open(address, 2), Err(PortError::InUse(_))));
        drop(first);
        let ours = ports.open(address, 2).unwrap();
        assert!(matches!(ports.open(address, 2), Err(PortError::InUse(_))));
        drop(ours);
        assert_eq!(ports.open(address, 2).unwrap().len(), 2);
    }
}
