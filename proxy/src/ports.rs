//! Opens ports: one socket for each thread, the kernel spreads connections among them.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

const BACKLOG: i32 = 4096;

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
pub(crate) fn open(address: SocketAddr, count: usize) -> Result<Vec<TcpListener>, PortError> {
    let open = || -> io::Result<Vec<TcpListener>> {
        drop(socket(address, false)?);
        (0..count).map(|_| socket(address, true)).collect()
    };
    open().map_err(|source| PortError::new(address, source))
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
        let first = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = first.local_addr().unwrap();
        assert!(matches!(open(address, 2), Err(PortError::InUse(_))));
        drop(first);
        let ours = open(address, 2).unwrap();
        assert!(matches!(open(address, 2), Err(PortError::InUse(_))));
        drop(ours);
        assert_eq!(open(address, 2).unwrap().len(), 2);
    }
}
