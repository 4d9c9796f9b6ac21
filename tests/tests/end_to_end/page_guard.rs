//! What the page refuses: other sites, other names, forged tokens, too much. No browser is needed for it.

use std::net::SocketAddr;

use futures_util::{StreamExt, stream};
use penstock_crds::Phase;
use penstock_tests::place::{Place, Served};
use penstock_tests::world::decisions;
use penstock_tests::{Manifest, PATIENCE, World, wait_until};
use penstock_web::Hosts;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One request as bytes, one answer as text; what does not come within 10 s is cut off.
async fn exchange(address: &str, request: &str) -> std::io::Result<String> {
    let address: SocketAddr = address.parse().unwrap();
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    read.unwrap_or(Ok(0))?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

async fn get(served: &Served, path: &str, headers: &str) -> String {
    let host =
        if headers.contains("host: ") { String::new() } else { format!("host: {}\r\n", served.address) };
    let request = format!("GET {path} HTTP/1.1\r\n{host}connection: close\r\n{headers}\r\n");
    exchange(&served.address, &request).await.unwrap()
}

async fn post(served: &Served, headers: &str, body: &str) -> String {
    let (host, length) = (&served.address, body.len());
    let request = format!(
        "POST /api/v1/rollouts/shop/checkout/orders HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\
         content-length: {length}\r\n{headers}\r\n{body}"
    );
    exchange(&served.address, &request).await.unwrap()
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
}

async fn guarded() -> Served {
    let served = Place::default().serve(Hosts::Any, true).await.unwrap();
    served.place.knows("ada", "ada", &["shop", "edit/shop"]);
    served.place.knows("bob", "bob", &["shop"]);
    let rollout =
        json!({"metadata": {"name": "checkout"}, "status": {"phase": "Progressing", "stableRevision": "v1"}});
    served.place.put("shop", "checkout", rollout.clone());
    served.place.put("secret", "cart", rollout);
    served
}

#[tokio::test]
async fn every_answer_keeps_the_page_to_itself() {
    let served = guarded().await;
    for path in [
        "/",
        "/r/shop/checkout",
        "/assets/app.js",
        "/api/v1/rollouts",
        "/nowhere",
        "/assets/../../etc/passwd",
    ] {
        let answer = get(&served, path, "").await.to_lowercase();
        for header in [
            "frame-ancestors 'none'",
            "script-src 'self';",
            "x-frame-options: deny",
            "nosniff",
            "no-referrer",
        ] {
            assert!(answer.contains(header), "{path} lacks {header}: {answer}");
        }
        assert!(!answer.contains("access-control-allow"), "{path}");
        let kept = if path.starts_with("/assets/app") { "no-cache" } else { "no-store" };
        assert!(answer.contains(&format!("cache-control: {kept}")), "{path}: {answer}");
    }
}

#[tokio::test]
async fn a_name_that_somebody_made_lead_here_is_not_answered_to() {
    let served = Place::default().serve(Hosts::Loopback, false).await.unwrap();
    let at = |host: &'static str| get(&served, "/", host);
    assert_eq!(status(&at("host: evil.example\r\n").await), 421);
    assert_eq!(status(&at("host: localhost:1\r\nhost: evil.example\r\n").await), 400);
    assert_eq!(status(&at("host: localhost:9903\r\n").await), 200);
    let foreign = get(&served, "/api/v1/rollouts", "sec-fetch-site: cross-site\r\n").await;
    assert_eq!(status(&foreign), 403);
}

#[tokio::test]
async fn an_order_of_another_site_is_none() {
    let served = guarded().await;
    let (body, whole) = (
        r#"{"order": "abort"}"#,
        "authorization: Bearer ada\r\ncontent-type: application/json\r\nx-penstock-order: 1\r\n",
    );
    for (headers, code) in [
        (whole.replace("x-penstock-order: 1\r\n", ""), 403),
        (whole.replace("application/json", "text/plain"), 403),
        (format!("{whole}origin: http://evil.example\r\n"), 403),
        (format!("{whole}origin: null\r\n"), 403),
        (format!("{whole}sec-fetch-site: cross-site\r\n"), 403),
        (whole.replace("Bearer ada", "Bearer bob"), 403),
        (whole.replace("Bearer ada", "Bearer forged"), 401),
        (whole.replace("authorization: Bearer ada\r\n", ""), 401),
    ] {
        let answer = post(&served, &headers, body).await;
        assert_eq!(status(&answer), code, "{headers}: {answer}");
    }
    assert_eq!(status(&post(&served, whole, r#"{"order": "abrot"}"#).await), 400);
    assert_eq!(status(&post(&served, whole, &"x".repeat(20_000)).await), 413);
    assert!(served.place.orders.lock().unwrap().is_empty());
    let answer = post(&served, &format!("{whole}origin: http://{}\r\n", served.address), body).await;
    assert_eq!(status(&answer), 202, "nobody follows orders there: {answer}");
    let orders = served.place.orders.lock().unwrap().clone();
    assert_eq!(orders.len(), 1);
    assert_eq!((orders[0].0.to_string(), orders[0].1.who.as_str()), ("shop/checkout".to_owned(), "ada"));
}

#[tokio::test]
async fn a_person_sees_what_he_may_and_no_more() {
    let served = guarded().await;
    let list = get(&served, "/api/v1/rollouts", "authorization: Bearer bob\r\n").await;
    assert!(list.contains("checkout") && !list.contains("cart") && !list.contains("secret"), "{list}");
    for path in
        ["/api/v1/rollouts/secret/cart", "/api/v1/rollouts/secret/cart/events", "/api/v1/rollouts/nowhere/x"]
    {
        assert_eq!(status(&get(&served, path, "authorization: Bearer bob\r\n").await), 403, "{path}");
    }
    assert_eq!(status(&get(&served, "/api/v1/rollouts", "").await), 401);
    let long = format!("authorization: Bearer {}\r\n", "x".repeat(20_000));
    assert_eq!(status(&get(&served, "/api/v1/rollouts", &long).await), 401);
}

#[tokio::test]
async fn forged_tokens_without_end_ask_the_cluster_only_so_often() {
    let served = guarded().await;
    let codes: Vec<u16> = stream::iter(0..300)
        .map(|n| {
            let served = &served;
            async move {
                status(
                    &get(served, "/api/v1/rollouts", &format!("authorization: Bearer forged-{n}\r\n")).await,
                )
            }
        })
        .buffer_unordered(32)
        .collect()
        .await;
    assert!(codes.iter().all(|code| matches!(code, 401 | 429 | 503)), "{codes:?}");
    let asked = *served.place.asked.lock().unwrap();
    assert!(asked < 200, "{asked} questions for 300 forged tokens");
}

/// 10,000 page loads at once, while a release is under way: they are bounded and refused, and it goes on.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_page_loads_at_once_harm_no_release() {
    let steps = ["setWeight: 20", "pause: {duration: 1s}", "setWeight: 60", "pause: {duration: 1s}"];
    let mut world =
        World::serving(Manifest::new("checkout", "v1").unwrap().with_steps(&steps)).await.unwrap();
    let line = world.folder.says(&["see it in a browser", "http://"]).await.unwrap();
    let page = line.split("http://").nth(1).unwrap().split('/').next().unwrap().to_owned();
    world.folder.apply(&world.first.with_version("v2")).unwrap();
    let paths =
        ["/", "/assets/uplot/uPlot.iife.min.js", "/api/v1/rollouts", "/api/v1/rollouts/default/checkout"];
    let loads = stream::iter(0..10_000).map(|n| {
        let request = format!("GET {} HTTP/1.1\r\nhost: {page}\r\nconnection: close\r\n\r\n", paths[n % 4]);
        let page = page.clone();
        async move { exchange(&page, &request).await.map_or(0, |answer| status(&answer)) }
    });
    let codes: Vec<u16> = loads.buffer_unordered(600).collect().await;
    let of = |code| codes.iter().filter(|c| **c == code).count();
    let (served, refused) = (of(200), of(429) + of(503) + of(0));
    assert!(
        served > 0 && refused > 0 && served + refused == codes.len(),
        "{served} served, {refused} refused"
    );
    world.folder.says(&["too much at once: the page has refused"]).await.unwrap();
    let status = world.rests().await.unwrap();
    assert_eq!((status.phase, decisions(&status, "Aborted").len()), (Phase::Stable, 0));
    world.is_answered_by("v2").await.unwrap();
    world.unharmed().await.unwrap();
}

/// Live pages are bounded, and those that leave make room.
#[tokio::test(flavor = "multi_thread")]
async fn live_pages_are_so_many_and_no_more() {
    let served = guarded().await;
    let request = format!(
        "GET /api/v1/events HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer ada\r\n\r\n",
        served.address
    );
    let open = async || {
        let mut stream = TcpStream::connect(served.address.parse::<SocketAddr>().unwrap()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).await.unwrap();
        (stream, status(&String::from_utf8_lossy(&head)))
    };
    let mut kept = Vec::new();
    let last = loop {
        let (stream, code) = open().await;
        if code != 200 || kept.len() > 200 {
            break code;
        }
        kept.push(stream);
    };
    assert_eq!((kept.len(), last), (96, 503));
    drop(kept);
    wait_until("there is room again", PATIENCE, async || match open().await.1 {
        200 => Ok(()),
        code => Err(format!("{code}")),
    })
    .await
    .unwrap();
}

/// What scripts of others read stays what it is.
#[tokio::test]
async fn the_answers_have_a_version_and_the_fields_that_the_document_names() {
    let served = guarded().await;
    let body =
        |answer: String| -> Value { serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap() };
    let ada = "authorization: Bearer ada\r\n";
    let document = include_str!("../../../docs/page.md");
    for path in ["/api/v1/me", "/api/v1/rollouts", "/api/v1/rollouts/shop/checkout"] {
        let told = body(get(&served, path, ada).await);
        assert_eq!(told["v"], json!(1), "{path}");
        let named = told
            .as_object()
            .unwrap()
            .keys()
            .chain(told["items"][0].as_object().into_iter().flat_map(|item| item.keys()));
        for field in named {
            assert!(
                document.contains(&format!("`{field}`")),
                "docs/page.md does not tell what `{field}` of {path} is"
            );
        }
    }
}
