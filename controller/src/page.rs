//! The on-call page: where it is served.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use penstock_driver::view::View;
use penstock_web::{Hosts, Page, serve};
use tokio::net::TcpListener;

/// Where the page of a folder is served unless somebody says otherwise; when it is taken, on a free port.
const USUAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9903);

/// Where the page of a folder is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nowhere.
    Off,
    /// Here, or nowhere. Port 0 is any free one.
    At(SocketAddr),
}

/// Reads `off`, `PORT` or `ADDRESS:PORT`. Nobody is asked who he is there, so the address is one of this machine's own.
pub(crate) fn place(text: &str) -> Result<Place, String> {
    if text == "off" {
        return Ok(Place::Off);
    }
    let port = text.parse().ok().map(|port| SocketAddr::new(USUAL.ip(), port));
    let Some(address) = port.or_else(|| text.parse().ok()) else {
        return Err("write a port, an address with its port as 127.0.0.1:9903, or off".to_owned());
    };
    if !address.ip().is_loopback() {
        return Err(
            "the page of a folder asks nobody who he is: serve it at 127.0.0.1 or [::1], and reach it \
                    from elsewhere through a tunnel, for instance `ssh -L 9903:127.0.0.1:9903 HOST`"
                .to_owned(),
        );
    }
    Ok(Place::At(address))
}

/// Opens the page's listener; the usual one when nobody has named a place.
///
/// Errors: the place that somebody has named is taken.
pub(crate) async fn listen(place: Option<Place>) -> Result<Option<TcpListener>> {
    let address = match place {
        Some(Place::Off) => return Ok(None),
        Some(Place::At(address)) => address,
        None => match TcpListener::bind(USUAL).await {
            Ok(listener) => return Ok(Some(listener)),
            Err(_) => SocketAddr::new(USUAL.ip(), 0),
        },
    };
    let bound = TcpListener::bind(address).await;
    let bound =
        bound.with_context(|| format!("serve the page at {address}: name another place with --page, or off"));
    bound.map(Some)
}

/// Where a browser finds it.
pub(crate) fn address(listener: &TcpListener) -> Result<String> {
    Ok(format!("http://{}/", listener.local_addr().context("find the page's own address")?))
}

/// Serves the page of a folder, without asking for tokens, to this machine only.
pub(crate) async fn of_folder(listener: Option<TcpListener>, view: Arc<dyn View>) {
    let Some(listener) = listener else { return };
    serve(listener, Page { view, hosts: Hosts::Loopback, tokens: false }).await;
}

/// Serves the page of a cluster, to whoever brings a token of it.
pub(crate) async fn of_cluster(listener: Option<TcpListener>, view: Arc<dyn View>) {
    let Some(listener) = listener else { return };
    serve(listener, Page { view, hosts: Hosts::Any, tokens: true }).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_without_tokens_is_served_to_this_machine_only() {
        assert_eq!(place("off"), Ok(Place::Off));
        assert_eq!(place("7070"), Ok(Place::At(([127, 0, 0, 1], 7070).into())));
        assert_eq!(place("[::1]:0"), Ok(Place::At("[::1]:0".parse().unwrap())));
        for text in ["0.0.0.0:7070", "10.0.0.1:80", "[::]:7070", "99999", "localhost", ""] {
            assert!(place(text).is_err(), "{text}");
        }
    }
}
