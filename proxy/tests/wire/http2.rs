//! HTTP/2 with prior knowledge, and gRPC over it.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Version};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{Backend, Folder, Proxy, Shop, Split, free_port, wait_for};

pub type Body = BoxBody<Bytes, Infallible>;

#[derive(Clone, Copy)]
pub struct Spawn;

impl<F: Future<Output: Send> + Send + 'static> hyper::rt::Executor<F> for Spawn {
    fn execute(&self, future: F) {
        tokio::spawn(future);
    }
}

/// Runs a test on a runtime that goes on in the background.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// An HTTP/2 server that answers with `answer`.
async fn server(answer: impl Fn(Request<Incoming>) -> Response<Body> + Clone + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = answer.clone();
            let service = service_fn(move |request| {
                let response = answer(request);
                async move { Ok::<_, Infallible>(response) }
            });
            let builder = hyper::server::conn::http2::Builder::new(Spawn);
            tokio::spawn(builder.serve_connection(TokioIo::new(stream), service));
        }
    });
    port
}

async fn client(port: u16) -> SendRequest<Body> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(Spawn, TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn full(text: &'static str) -> Body {
    Full::new(Bytes::from_static(text.as_bytes())).boxed()
}

/// A body of one frame, and trailers.
fn with_trailers(text: &'static str, trailers: &[(&'static str, &'static str)]) -> Body {
    let map: HeaderMap = trailers.iter().map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap())).collect();
    let frames = [Frame::data(Bytes::from_static(text.as_bytes())), Frame::trailers(map)];
    StreamBody::new(Frames(frames.into_iter().collect())).boxed()
}

struct Frames(std::collections::VecDeque<Frame<Bytes>>);

impl futures_util::Stream for Frames {
    type Item = Result<Frame<Bytes>, Infallible>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Ready(self.0.pop_front().map(Ok))
    }
}

fn grpc(port: u16, body: Body) -> Request<Body> {
    let request = Request::post(format!("http://shop:{port}/cart.Cart/Add")).version(Version::HTTP_2);
    request.header("content-type", "application/grpc+proto").header("te", "trailers").body(body).unwrap()
}

/// All traffic to an endpoint at `port`.
pub fn shop(port: u16, app_protocol: &str) -> (Folder, Proxy, u16) {
    shop_with(port, app_protocol, &[])
}

/// The same with these options.
pub fn shop_with(port: u16, app_protocol: &str, args: &[&str]) -> (Folder, Proxy, u16) {
    let (folder, listen) = (Folder::new(), free_port());
    folder.endpoints_of("shop-v1", &[port], app_protocol);
    folder.route(&Split::new(1, 100, 0).port(listen));
    let proxy = Proxy::start(&folder, args);
    (folder, proxy, listen)
}

fn wait_counted(proxy: &Proxy, code: &str, culprit: &str, count: f64) {
    let labels = [("revision", "v1"), ("code", code), ("culprit", culprit)];
    let what = format!("{count} with {code} and {culprit}: {}", proxy.metrics());
    wait_for(&what, || (proxy.metric("penstock_requests_total", &labels) == Some(count)).then_some(()));
}

#[test]
fn grpc_passes_with_its_trailers_and_is_judged_by_its_status() {
    let runtime = runtime();
    let backend = runtime.block_on(server(|request| {
        assert_eq!(request.version(), Version::HTTP_2);
        assert_eq!(request.headers()["te"], "trailers");
        let status = if request.uri().path().ends_with("Add") { "0" } else { "13" };
        let body = with_trailers("\0\0\0\0\0", &[("grpc-status", status), ("x-cost", "3")]);
        Response::builder().header("content-type", "application/grpc").body(body).unwrap()
    }));
    let (_folder, proxy, port) = shop(backend, "");
    runtime.block_on(async {
        let mut client = client(port).await;
        for path in ["Add", "Fail"] {
            let mut request = grpc(port, full("\0\0\0\0\0"));
            *request.uri_mut() = format!("http://shop:{port}/cart.Cart/{path}").parse().unwrap();
            let response = client.send_request(request).await.unwrap();
            assert_eq!((response.version(), response.status()), (Version::HTTP_2, StatusCode::OK));
            let body = response.into_body().collect().await.unwrap();
            assert_eq!(body.trailers().unwrap()["x-cost"], "3");
            assert_eq!(body.to_bytes().len(), 5);
        }
    });
    wait_counted(&proxy, "2xx", "none", 1.0);
    wait_counted(&proxy, "2xx", "upstream", 1.0);
}

#[test]
fn a_grpc_status_in_the_head_counts_too() {
    let runtime = runtime();
    let backend = runtime.block_on(server(|_| {
        let response =
            Response::builder().header("content-type", "application/grpc").header("grpc-status", "14");
        response.body(full("")).unwrap()
    }));
    let (_folder, proxy, port) = shop(backend, "");
    runtime.block_on(async {
        let response = client(port).await.send_request(grpc(port, full("x"))).await.unwrap();
        let (head, body) = response.into_parts();
        body.collect().await.unwrap();
        assert_eq!(head.headers["grpc-status"], "14");
    });
    wait_counted(&proxy, "2xx", "upstream", 1.0);
}

#[test]
fn grpc_streams_in_both_directions_at_once() {
    let runtime = runtime();
    let backend = runtime.block_on(server(|request| {
        let body =
            request.into_body().map_err(|_| -> Infallible { unreachable!("the client does not break off") });
        Response::builder().header("content-type", "application/grpc").body(body.boxed()).unwrap()
    }));
    let (_folder, _proxy, port) = shop(backend, "");
    runtime.block_on(async {
        let (sender, receiver) = tokio::sync::mpsc::channel::<Frame<Bytes>>(1);
        let body = StreamBody::new(futures_util::stream::unfold(receiver, async |mut r| {
            r.recv().await.map(|frame| (Ok::<_, Infallible>(frame), r))
        }));
        let request = grpc(port, body.boxed());
        let mut client = client(port).await;
        let answering = tokio::spawn(async move { client.send_request(request).await.unwrap() });
        sender.send(Frame::data(Bytes::from_static(b"one"))).await.unwrap();
        let mut body = answering.await.unwrap().into_body();
        for text in ["one", "two", "three"] {
            let frame = body.frame().await.unwrap().unwrap();
            assert_eq!(frame.data_ref().unwrap(), text);
            let next = if text == "one" { "two" } else { "three" };
            sender.send(Frame::data(Bytes::from_static(next.as_bytes()))).await.unwrap();
        }
    });
}

#[test]
fn a_client_that_cancels_amid_both_streams_is_to_blame() {
    let runtime = runtime();
    let backend = runtime.block_on(server(|request| {
        let body = request.into_body().map_err(|_| -> Infallible { panic!("the client has broken off") });
        Response::builder().header("content-type", "application/grpc").body(body.boxed()).unwrap()
    }));
    let (_folder, proxy, port) = shop(backend, "");
    for _ in 0..20 {
        runtime.block_on(async {
            let (sender, receiver) = tokio::sync::mpsc::channel::<Frame<Bytes>>(1);
            let body = StreamBody::new(futures_util::stream::unfold(receiver, async |mut r| {
                r.recv().await.map(|frame| (Ok::<_, Infallible>(frame), r))
            }));
            let mut client = client(port).await;
            let request = grpc(port, body.boxed());
            let answering = tokio::spawn(async move { client.send_request(request).await.unwrap() });
            sender.send(Frame::data(Bytes::from_static(b"one"))).await.unwrap();
            let mut body = answering.await.unwrap().into_body();
            body.frame().await.unwrap().unwrap();
        });
    }
    wait_counted(&proxy, "2xx", "client", 20.0);
}

#[test]
fn http_2_from_the_client_becomes_http_1_for_the_endpoint() {
    let shop = Shop::of(Backend::echo(), &[]);
    let seen = runtime().block_on(async {
        let request = Request::get(format!("http://shop:{}/a?b", shop.port)).header("cookie", "a=1");
        let request = request.header("cookie", "b=2").body(full("")).unwrap();
        let response = client(shop.port).await.send_request(request).await.unwrap();
        String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
    });
    assert!(seen.starts_with("GET /a?b HTTP/1.1\n"), "{seen}");
    assert!(
        seen.contains(&format!("host: shop:{}\n", shop.port)) && seen.contains("cookie: a=1; b=2"),
        "{seen}"
    );
    shop.wait_counted("v1", "2xx", "none", 1);
}

#[test]
fn http_1_from_the_client_becomes_http_2_where_the_port_says_so() {
    let runtime = runtime();
    let backend = runtime.block_on(server(|request| {
        assert_eq!(
            (request.version(), request.uri().authority().unwrap().as_str()),
            (Version::HTTP_2, "shop")
        );
        Response::new(full("v1"))
    }));
    let (_folder, _proxy, port) = shop(backend, ", appProtocol: kubernetes.io/h2c");
    let mut client = crate::harness::Client::connect(port);
    for _ in 0..3 {
        assert_eq!(client.get("/", "").text(), "v1");
    }
}

#[test]
fn many_requests_share_one_connection() {
    let runtime = runtime();
    let backend = runtime.block_on(server(|_| Response::new(full("v1"))));
    let (_folder, proxy, port) = shop(backend, ", appProtocol: kubernetes.io/h2c");
    runtime.block_on(async {
        let client = client(port).await;
        let sent = (0..200).map(|_| {
            let request = Request::get(format!("http://shop:{port}/")).body(full("")).unwrap();
            let mut client = client.clone();
            // To its end: a client that drops an answer before has cancelled it.
            tokio::spawn(async move {
                let (head, body) = client.send_request(request).await.unwrap().into_parts();
                body.collect().await.unwrap();
                head.status
            })
        });
        for sent in sent.collect::<Vec<_>>() {
            assert_eq!(sent.await.unwrap(), 200);
        }
    });
    wait_counted(&proxy, "2xx", "none", 200.0);
}

#[test]
fn a_stream_that_the_client_resets_is_the_clients_doing() {
    let silent = Backend::doing(|_, client| !client.is_closed());
    let shop = Shop::of(silent, &[]);
    runtime().block_on(async {
        let mut client = client(shop.port).await;
        let request = Request::get(format!("http://shop:{}/", shop.port)).body(full("")).unwrap();
        let answer = tokio::time::timeout(Duration::from_millis(200), client.send_request(request)).await;
        assert!(answer.is_err());
        tokio::time::sleep(Duration::from_millis(100)).await;
    });
    shop.wait_counted("v1", "none", "client", 1);
}

#[test]
fn a_drain_lets_streams_end() {
    let runtime = runtime();
    let backend = runtime.block_on(server(|request| {
        let body =
            request.into_body().map_err(|_| -> Infallible { unreachable!("the client does not break off") });
        Response::new(body.boxed())
    }));
    let (_folder, mut proxy, port) = shop(backend, ", appProtocol: kubernetes.io/h2c");
    runtime.block_on(async {
        let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
        let body = StreamBody::new(futures_util::stream::once(async {
            receiver.await.ok();
            Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"late")))
        }));
        let mut client = client(port).await;
        let request = Request::post(format!("http://shop:{port}/")).body(BodyExt::boxed(body)).unwrap();
        let answering = tokio::spawn(async move { client.send_request(request).await });
        wait_for("it is in flight", || (proxy.rollout("shop")?.in_flight["v1"] == 1).then_some(()));
        proxy.signal("TERM");
        wait_for("it drains", || proxy.status().draining.then_some(()));
        sender.send(()).unwrap();
        let response = answering.await.unwrap().unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "late");
    });
    assert!(proxy.wait_exit().success());
}

#[test]
fn a_connection_is_used_until_the_proxy_listens_no_more_and_loses_nothing() {
    let runtime = runtime();
    let heard = Arc::<AtomicU64>::default();
    let hears = Arc::clone(&heard);
    let backend = runtime.block_on(server(move |_| {
        hears.fetch_add(1, Ordering::SeqCst);
        Response::new(full("v1"))
    }));
    let (folder, listen) = (Folder::new(), free_port());
    folder.endpoints_of("shop-v1", &[backend], ", appProtocol: kubernetes.io/h2c");
    folder.route(&Split::new(1, 100, 0).port(listen));
    let mut proxy = Proxy::start(&folder, &["--drain-delay", "1s"]);
    let served = runtime.block_on(async {
        let mut client = client(listen).await;
        let (mut served, mut leaving) = (0, 0);
        loop {
            let request = Request::get(format!("http://shop:{listen}/")).body(full("")).unwrap();
            match client.try_send_request(request).await {
                Ok(response) => assert_eq!(response.status(), StatusCode::OK),
                Err(mut error) => {
                    // A GOAWAY without an error says as well that it was not taken (RFC 9113 section 6.8).
                    let untaken = error.take_message().is_some() || format!("{error:?}").contains("NO_ERROR");
                    assert!(untaken, "sent, and then lost: {error:?}");
                    return (served, leaving);
                }
            }
            served += 1;
            leaving += u64::from(served > 100);
            if served == 100 {
                proxy.signal("TERM");
            }
        }
    });
    assert!(served.1 > 10, "it is of use while the proxy goes: {served:?}");
    assert_eq!(heard.load(Ordering::SeqCst), served.0, "nothing was taken and not answered");
    assert!(proxy.wait_exit().success());
}
