//! How a Prometheus server is reached, in whose name, and who vouches for it.

use std::fmt;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Certificate, Client, Url};

use super::SourceError;

/// How a Prometheus server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Its base address: `http://prometheus.monitoring:9090`, with a path if there is one.
    pub address: String,
    /// How long a question may take.
    pub timeout: Duration,
    /// In whose name it is asked.
    pub credentials: Option<Credentials>,
    /// Certificates (PEM) that alone are trusted to sign the server's; those of the system when left out.
    pub ca: Option<Vec<u8>>,
}

/// In whose name a server is asked. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A token; white space around it is not part of it.
    Bearer(String),
    /// A user.
    Basic {
        /// The user's name.
        username: String,
        /// The password.
        password: String,
    },
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Credentials::Bearer(_) => "Bearer(…)",
            Credentials::Basic { .. } => "Basic(…)",
        })
    }
}

impl Access {
    /// Without credentials, with the certificates of the system.
    pub fn open(address: &str, timeout: Duration) -> Access {
        Access { address: address.to_owned(), timeout, credentials: None, ca: None }
    }

    /// A client that trusts whom it should. Errors: token or certificates are none.
    pub(super) fn client(&self) -> Result<Client, SourceError> {
        let mut headers = HeaderMap::new();
        if let Some(Credentials::Bearer(token)) = &self.credentials {
            headers.insert(AUTHORIZATION, bearer(token)?);
        }
        let ca = self.ca.as_deref().map(certificates).transpose()?;
        let builder = || super::builder(self.timeout).default_headers(headers.clone());
        match ca {
            Some(ca) => Ok(builder().tls_certs_only(ca).build()?),
            None => Ok(super::built(builder)?),
        }
    }

    /// The address with the user to ask as: the client makes a header of it, and it is shown nowhere.
    pub(super) fn url(&self, mut url: Url) -> Result<Url, SourceError> {
        let Some(Credentials::Basic { username, password }) = &self.credentials else { return Ok(url) };
        let refuse = |why: &str| SourceError::Credentials(why.to_owned());
        let (username, password) = (username.trim(), password.trim_end_matches(['\r', '\n']));
        if username.is_empty() || username.contains(':') {
            return Err(refuse("the user's name is empty or has a `:`"));
        }
        // What stands in an address is decoded again, and `%` alone is not encoded by setting it.
        let plain = |text: &str| text.replace('%', "%25");
        let set = url.set_username(&plain(username)).and_then(|()| url.set_password(Some(&plain(password))));
        set.map_err(|()| refuse("the address can't have a user"))?;
        Ok(url)
    }
}

fn bearer(token: &str) -> Result<HeaderValue, SourceError> {
    let token = token.trim();
    let value = HeaderValue::from_str(&format!("Bearer {token}")).ok().filter(|_| !token.is_empty());
    let mut value = value.ok_or_else(|| {
        SourceError::Credentials("the token is empty, or has characters that no token has".to_owned())
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn certificates(pem: &[u8]) -> Result<Vec<Certificate>, SourceError> {
    let refuse = |why: String| SourceError::Certificates(why);
    let found = Certificate::from_pem_bundle(pem).map_err(|e| refuse(super::root_cause(&e)))?;
    if found.is_empty() { Err(refuse("there is no PEM certificate".to_owned())) } else { Ok(found) }
}
