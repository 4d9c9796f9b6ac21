//! Prometheus servers that want to know who asks, or have a certificate of their own.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use penstock_core::revision::Revision;
use penstock_core::sample::{Asks, NoData, Question, Reading};
use penstock_core::time::Time;
use penstock_driver::ask::prometheus::PrometheusSource;
use penstock_driver::ask::{Access, Credentials};
use penstock_signals::RolloutName;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

const BODY: &str = r#"{"status":"success","data":{"resultType":"scalar","result":[1,"4.5"]}}"#;
/// Made with openssl, for 100 years: a CA, and a certificate of it for 127.0.0.1.
const CA: &[u8] = include_bytes!("tls/ca.pem");
const CERTIFICATE: &[u8] = include_bytes!("tls/server.pem");
const KEY: &[u8] = include_bytes!("tls/server.key");

/// Answers one request, and says with which `Authorization` it came. Over TLS if asked to.
fn server(tls: bool) -> (String, mpsc::Receiver<Option<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let scheme = if tls { "https" } else { "http" };
    let address = format!("{scheme}://{}", listener.local_addr().unwrap());
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let seen = if tls { serve(StreamOwned::new(server_connection(), stream)) } else { serve(stream) };
        // Without an answer, the test has seen what it wanted.
        if let Ok(seen) = seen {
            let _ = tell.send(seen);
        }
    });
    (address, told)
}

fn server_connection() -> ServerConnection {
    rustls::crypto::ring::default_provider().install_default().ok();
    let chain = vec![CertificateDer::from_pem_slice(CERTIFICATE).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(KEY).unwrap();
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
    ServerConnection::new(Arc::new(config)).unwrap()
}

fn serve(stream: impl Read + Write) -> std::io::Result<Option<String>> {
    let mut stream = BufReader::new(stream);
    let (mut authorization, mut length) = (None, 0);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            if line.trim_end().is_empty() {
                break;
            }
            continue;
        };
        match name.to_ascii_lowercase().as_str() {
            "authorization" => authorization = Some(value.to_owned()),
            "content-length" => length = value.parse().unwrap(),
            _ => {}
        }
    }
    stream.read_exact(&mut vec![0; length])?;
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", BODY.len());
    stream.get_mut().write_all((head + BODY).as_bytes())?;
    stream.get_mut().flush()?;
    Ok(authorization)
}

async fn ask(access: &Access) -> Result<Reading, NoData> {
    let question = Question {
        metric: "own".to_owned(),
        revision: Revision::new("7d9f8").unwrap(),
        stable: Revision::new("5c6b7").unwrap(),
        asks: Asks::Value("up".to_owned()),
    };
    let rollout = RolloutName { namespace: "shop".to_owned(), name: "checkout".to_owned() };
    let source = PrometheusSource::with(access).unwrap();
    let mut answers = source.ask(&rollout, &[question], Time(1)).await;
    answers.remove(0).result.map(|sample| sample.value)
}

fn access(address: &str, credentials: Option<Credentials>) -> Access {
    Access { credentials, ..Access::open(address, Duration::from_secs(10)) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_sent_without_the_white_space_around_it() {
    let (address, told) = server(false);
    let credentials = Some(Credentials::Bearer("s3cret\n".to_owned()));
    assert_eq!(ask(&access(&address, credentials)).await, Ok(Reading::Value(4.5)));
    assert_eq!(told.recv().unwrap().as_deref(), Some("Bearer s3cret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn user_and_password_are_sent_as_they_are() {
    let (address, told) = server(false);
    let (username, password) = ("ada%41@x".to_owned(), "p:a/%20 ü\n".to_owned());
    let credentials = Some(Credentials::Basic { username, password });
    assert_eq!(ask(&access(&address, credentials)).await, Ok(Reading::Value(4.5)));
    // echo -n 'ada%41@x:p:a/%20 ü' | base64
    assert_eq!(told.recv().unwrap().as_deref(), Some("Basic YWRhJTQxQHg6cDphLyUyMCDDvA=="));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_named_where_no_credentials_are_given() {
    let (address, told) = server(false);
    assert_eq!(ask(&access(&address, None)).await, Ok(Reading::Value(4.5)));
    assert_eq!(told.recv().unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_trusted_by_the_ca_that_is_given_and_no_other_one() {
    let (address, told) = server(true);
    let credentials = Some(Credentials::Bearer("s3cret".to_owned()));
    let trusting = Access { ca: Some(CA.to_vec()), ..access(&address, credentials.clone()) };
    assert_eq!(ask(&trusting).await, Ok(Reading::Value(4.5)));
    assert_eq!(told.recv().unwrap().as_deref(), Some("Bearer s3cret"));

    let (address, told) = server(true);
    let reason = ask(&access(&address, credentials)).await.unwrap_err().0;
    assert!(reason.contains("can't be reached") && reason.contains("certificate"), "{reason}");
    assert!(told.recv().is_err(), "the token is not given to a stranger");
}

#[test]
fn credentials_that_can_not_be_sent_are_refused_and_never_told() {
    let refused = |access: &Access| {
        let Err(error) = PrometheusSource::with(access) else { panic!("taken: {access:?}") };
        let told = format!("{error} {error:?} {access:?}");
        assert!(!told.contains("s3cret"), "{told}");
        error.to_string()
    };
    let basic = |username: &str| Credentials::Basic { username: username.into(), password: "s3cret".into() };
    for credentials in
        [Credentials::Bearer(" \n".into()), Credentials::Bearer("s3cret\nx".into()), basic(""), basic("a:b")]
    {
        let why = refused(&access("http://x:9090", Some(credentials)));
        assert!(why.starts_with("credentials that can't be used"), "{why}");
    }
    for ca in [&b""[..], b"no certificate", b"-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n"] {
        let why = refused(&Access { ca: Some(ca.to_vec()), ..access("https://x:9090", None) });
        assert!(why.starts_with("a CA that can't be used"), "{why}");
    }
}
