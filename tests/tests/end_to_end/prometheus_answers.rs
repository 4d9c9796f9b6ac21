//! What a real Prometheus says when it is well, gone, stuck, or isn't Prometheus at all.

use std::time::Duration;

use penstock_core::revision::Revision;
use penstock_core::sample::{Asks, Question, Reading};
use penstock_core::time::Time;
use penstock_driver::ask::prometheus::PrometheusSource;
use penstock_signals::RolloutName;
use penstock_tests::{Backend, PATIENCE, Prometheus, port, wait_until};
use tokio::net::TcpListener;

const TIMEOUT: Duration = Duration::from_millis(500);
const NOW: Time = Time(1_800_000_000_000);

fn question(asks: Asks) -> Question {
    Question {
        metric: "declined".to_owned(),
        revision: Revision::new("7d9f8").unwrap(),
        stable: Revision::new("5c6b7").unwrap(),
        asks,
    }
}

fn checkout() -> RolloutName {
    RolloutName { namespace: "shop".to_owned(), name: "checkout".to_owned() }
}

async fn ask(address: &str, asks: Asks) -> Result<Reading, String> {
    let source = PrometheusSource::new(address, TIMEOUT).unwrap();
    let mut answers = source.ask(&checkout(), &[question(asks)], NOW).await;
    assert_eq!(answers.len(), 1);
    let answer = answers.remove(0);
    assert_eq!(answer.metric, "declined");
    answer.result.map(|sample| sample.value).map_err(|no| no.0)
}

async fn refused(address: &str, query: &str) -> String {
    let reason = ask(address, Asks::Value(query.to_owned())).await.expect_err("an answer without data");
    assert!(reason.starts_with(&format!("Prometheus at {address}: ")), "{reason}");
    reason
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_of_ones_own_yields_one_number_or_no_data() {
    let prometheus = Prometheus::start(&[]).await.unwrap();
    let address = prometheus.address();
    for query in ["4.5", "vector(4.5)", "sum(vector(4.5))"] {
        assert_eq!(ask(&address, Asks::Value(query.to_owned())).await, Ok(Reading::Value(4.5)), "{query}");
    }
    for (query, reason) in [
        ("vector(0) / 0", "yields NaN"),
        ("1 / 0", "yields inf"),
        (r#"nothing{revision="{{revision}}"}"#, "yields nothing"),
        (r#"vector(1) or label_replace(vector(2), "a", "b", "", "")"#, "yields 2 values"),
        (r#""text""#, "can't be understood"),
        ("up[5m]", "yields a range"),
        ("sum(", "refused the query (HTTP 400)"),
        ("{{canary}}", "unknown placeholder"),
    ] {
        let said = refused(&address, query).await;
        assert!(said.contains(reason), "{query}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_without_series_is_no_data() {
    let prometheus = Prometheus::start(&[]).await.unwrap();
    for asks in [Asks::Errors, Asks::SlowerThan(Duration::from_millis(500))] {
        let reason = ask(&prometheus.address(), asks).await.unwrap_err();
        assert!(reason.contains("no series penstock_request") && reason.contains("7d9f8"), "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prometheus_that_is_gone_stuck_or_back_says_so() {
    let mut prometheus = Prometheus::start(&[]).await.unwrap();
    let address = prometheus.address();
    prometheus.freeze().unwrap();
    assert!(refused(&address, "1").await.contains("gave no answer in time"));
    prometheus.thaw().unwrap();
    prometheus.stop().unwrap();
    let reason = refused(&address, "1").await;
    assert!(reason.contains("can't be reached") && reason.contains("refused"), "{reason}");
    prometheus.restart().await.unwrap();
    assert_eq!(ask(&address, Asks::Value("1".to_owned())).await, Ok(Reading::Value(1.0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_never_answers_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    assert!(refused(&address, "1").await.contains("gave no answer in time"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_address_says_what_is_wrong_with_it() {
    let nobody = format!("http://127.0.0.1:{}", port::free().unwrap());
    assert!(refused(&nobody, "1").await.contains("can't be reached"));

    let other = Backend::start("none").await.unwrap();
    let reason = refused(&format!("http://{}", other.address()), "1").await;
    assert!(reason.contains("can't be understood") && reason.ends_with("served "), "{reason}");

    let prometheus = Prometheus::start(&[]).await.unwrap();
    let reason = refused(&format!("{}/prometheus", prometheus.address()), "1").await;
    assert!(reason.contains("HTTP 404"), "{reason}");
    let reason = refused(&prometheus.address().replace("http:", "https:"), "1").await;
    assert!(reason.contains("can't be reached"), "{reason}");

    for address in ["prometheus:9090", "", "http://", "ftp://x", "http://x/?a=b", "http://user:secret@x:port"]
    {
        let Err(error) = PrometheusSource::new(address, TIMEOUT) else { panic!("{address} was taken") };
        let message = error.to_string();
        assert!(
            message.contains("is no address of a Prometheus") && !message.contains("secret"),
            "{message}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_in_the_address_is_not_told() {
    let address = format!("http://user:secret@127.0.0.1:{}", port::free().unwrap());
    let reason = ask(&address, Asks::Value("1".to_owned())).await.unwrap_err();
    assert!(reason.contains("can't be reached") && !reason.contains("secret"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_keep_their_order() {
    let prometheus = Prometheus::start(&[]).await.unwrap();
    let source = PrometheusSource::new(&prometheus.address(), Duration::from_secs(5)).unwrap();
    let asked: Vec<Question> = (0..20).map(|n| question(Asks::Value(n.to_string()))).collect();
    let answers = wait_until("all are answered", PATIENCE, async || {
        let answers = source.ask(&checkout(), &asked, NOW).await;
        answers.into_iter().map(|a| a.result.map(|s| s.value)).collect::<Result<Vec<_>, _>>()
    });
    let expected: Vec<Reading> = (0..20).map(|n| Reading::Value(f64::from(n))).collect();
    assert_eq!(answers.await.unwrap(), expected);
}
