use proptest::prelude::*;

use std::time::Duration;

use super::*;
use penstock_core::revision::Revision;
use penstock_core::sample::{Counts, Reading};

const AT: Time = Time(5000);

const TEXT: &str = r#"# HELP penstock_requests_total Requests that have ended.
# TYPE penstock_requests_total counter
penstock_requests_total{namespace="shop",rollout="checkout",revision="7d9f8",code="2xx",culprit="none"} 80
penstock_requests_total{namespace="shop",rollout="checkout",revision="7d9f8",code="4xx",culprit="none"} 10
penstock_requests_total{namespace="shop",rollout="checkout",revision="7d9f8",code="5xx",culprit="upstream"} 7
penstock_requests_total{namespace="shop",rollout="checkout",revision="7d9f8",code="none",culprit="upstream"} 3
penstock_requests_total{namespace="shop",rollout="checkout",revision="7d9f8",code="none",culprit="client"} 55
penstock_requests_total{namespace="shop",rollout="checkout",revision="5c6b7",code="2xx",culprit="none"} 999
penstock_requests_total{namespace="shop",rollout="search",revision="7d9f8",code="2xx",culprit="none"} 999
penstock_requests_total{namespace="else",rollout="checkout",revision="7d9f8",code="2xx",culprit="none"} 999
# TYPE penstock_request_latency_seconds histogram
penstock_request_latency_seconds_bucket{namespace="shop",rollout="checkout",revision="7d9f8",le="0.25"} 60
penstock_request_latency_seconds_bucket{namespace="shop",rollout="checkout",revision="7d9f8",le="0.5"} 95
penstock_request_latency_seconds_bucket{namespace="shop",rollout="checkout",revision="7d9f8",le="+Inf"} 100
penstock_request_latency_seconds_sum{namespace="shop",rollout="checkout",revision="7d9f8"} 17.25
penstock_request_latency_seconds_count{namespace="shop",rollout="checkout",revision="7d9f8"} 100
process_start_time_seconds 1.8e9 1800000000000
"#;

fn ask(asks: Asks, texts: &[&str]) -> Result<Sample, String> {
    let question = Question {
        metric: "m".to_owned(),
        revision: Revision::new("7d9f8").unwrap(),
        stable: Revision::new("5c6b7").unwrap(),
        asks,
    };
    let rollout = RolloutName { namespace: "shop".to_owned(), name: "checkout".to_owned() };
    let exposed = |text: &str| match text {
        "" => Err(NoData("proxy gave no answer".to_owned())),
        text => Ok(Exposition::parse(text).unwrap()),
    };
    let proxies = (1..).zip(texts).map(|(n, text)| (format!("proxy-{n}"), exposed(text)));
    parse(&question, &rollout, &proxies.collect(), AT).map_err(|no| no.0)
}

#[test]
fn the_traffic_of_a_rollout_is_told_by_revision() {
    let rollout = RolloutName { namespace: "shop".to_owned(), name: "checkout".to_owned() };
    let told = traffic(&rollout, &Exposition::parse(TEXT).unwrap());
    let ended: Vec<_> = told.iter().map(|(name, t)| (name.as_str(), t.ended.total, t.ended.bad)).collect();
    assert_eq!(ended, [("5c6b7", 999, 0), ("7d9f8", 100, 10)]);
    assert_eq!(told["7d9f8"].within, [(0.25, 60), (0.5, 95), (f64::INFINITY, 100)]);
    assert!(told["5c6b7"].within.is_empty());
}

#[test]
fn revisions_without_end_are_cut_off() {
    let line = |n| {
        format!(
            "penstock_requests_total{{namespace=\"shop\",rollout=\"checkout\",revision=\"r{n}\",culprit=\"none\"}} 1\n"
        )
    };
    let text: String = (0..100).map(line).collect();
    let rollout = RolloutName { namespace: "shop".to_owned(), name: "checkout".to_owned() };
    assert_eq!(traffic(&rollout, &Exposition::parse(&text).unwrap()).len(), MOST_REVISIONS);
}

fn missing(sample: &Sample) -> Vec<String> {
    match &sample.value {
        Reading::Counts { missing, .. } => {
            missing.iter().map(|(name, why)| format!("{name}: {why}")).collect()
        }
        Reading::Value(value) => panic!("a value, {value}"),
    }
}

fn counted(sample: Sample) -> Vec<(u64, u64)> {
    match sample.value {
        Reading::Counts { instances, .. } => {
            instances.into_values().map(|Counts { total, bad }| (total, bad)).collect()
        }
        Reading::Value(value) => panic!("a value, {value}"),
    }
}

#[test]
fn each_proxy_is_counted_by_itself() {
    let other = TEXT.replace(r#"code="5xx",culprit="upstream"} 7"#, r#"code="5xx",culprit="upstream"} 0"#);
    let errors = ask(Asks::Errors, &[TEXT, &other]).unwrap();
    assert_eq!(errors.at, AT);
    assert_eq!(counted(errors), [(100, 10), (93, 3)]);
    let slower = ask(Asks::SlowerThan(Duration::from_millis(500)), &[TEXT]).unwrap();
    assert_eq!(counted(slower), [(100, 5)]);
}

#[test]
fn what_a_client_gave_up_is_not_counted() {
    let more = TEXT.replace("55", "555");
    assert_eq!(ask(Asks::Errors, &[TEXT]), ask(Asks::Errors, &[&more]));
}

#[test]
fn what_one_proxy_tells_is_told_with_those_that_are_missing() {
    let broken = TEXT.replace(r#"culprit="upstream"} 7"#, r#"culprit="upstream"} -7"#);
    let sample = ask(Asks::Errors, &[TEXT, "up 1\n", "", &broken]).unwrap();
    insta::assert_snapshot!(missing(&sample).join("\n"), @r"
    proxy-2: proxy proxy-2 doesn't know revision 7d9f8 of shop/checkout (yet)
    proxy-3: proxy gave no answer
    proxy-4: proxy proxy-4 has penstock_requests_total at -7, which no counter can be
    ");
    assert_eq!(counted(sample), [(100, 10)]);

    let halved = TEXT.replace(r#"le="+Inf"} 100"#, r#"le="+Inf"} 90"#);
    let sample = ask(Asks::SlowerThan(Duration::from_millis(500)), &[&halved, TEXT]).unwrap();
    insta::assert_snapshot!(missing(&sample).join("\n"), @"proxy-1: the latency histogram of proxy proxy-1 is incomplete or contradicts itself; do relabelling rules drop series by `le`?");
    assert_eq!(counted(sample), [(100, 5)]);
}

#[test]
fn proxies_of_which_none_knows_the_revision_make_no_data() {
    let reason = ask(Asks::Errors, &["up 1\n", ""]).unwrap_err();
    insta::assert_snapshot!(reason, @"proxy proxy-1 doesn't know revision 7d9f8 of shop/checkout (yet)");
    assert!(ask(Asks::Errors, &[]).unwrap_err().contains("no proxy to ask"));
}

#[test]
fn a_query_needs_prometheus() {
    let reason = ask(Asks::Value("x".to_owned()), &[TEXT]).unwrap_err();
    insta::assert_snapshot!(reason, @"a query needs Prometheus: give its address in analysis.source.prometheus.address");
}

#[test]
fn a_limit_above_all_edges_makes_no_data() {
    let reason = ask(Asks::SlowerThan(Duration::from_secs(1)), &[TEXT]).unwrap_err();
    assert!(reason.contains("no common edge at or above 1s"), "{reason}");
}

#[test]
fn a_value_that_is_no_count_makes_no_data() {
    for value in ["NaN", "-7", "7.5", "+Inf"] {
        let odd = TEXT.replace(r#"culprit="upstream"} 7"#, &format!(r#"culprit="upstream"}} {value}"#));
        let reason = ask(Asks::Errors, &[&odd]).unwrap_err();
        assert!(reason.contains("which no counter can be"), "{value}: {reason}");
    }
}

#[test]
fn a_text_cut_short_is_noticed() {
    let half = &TEXT[..TEXT.len() / 2];
    assert_eq!(Exposition::parse(half), Err(Malformed::CutShort));
    let long = "# \n".repeat(crate::MAX_ANSWER / 3 + 1);
    assert_eq!(Exposition::parse(&long), Err(Malformed::TooLong));
}

#[test]
fn lines_that_cannot_be_read_are_named() {
    let lines = [
        "a",
        "a{",
        "a{b}",
        "a{b=1} 1",
        r#"a{b="1} 1"#,
        r#"a{b="1"} "#,
        r#"a{b="1"} x"#,
        r#"a{b="\x"} 1"#,
        r#"a{b="1" c="2"} 1"#,
        r#"a{b="1",b="2"} 1"#,
        "a 1 2 3",
        "a 1 x",
        "1a 1",
        "{} 1",
    ];
    for line in lines {
        let parsed = Exposition::parse(&format!("ok 1\n{line}\n"));
        assert!(matches!(parsed, Err(Malformed::Line { number: 2, .. })), "{line}: {parsed:?}");
    }
    let twice = "penstock_requests_total 1\npenstock_requests_total 2\n";
    assert!(matches!(Exposition::parse(twice), Err(Malformed::Line { what: "a series given twice", .. })));
    for line in [r#"a{b="\"\\\n,}",} 1"#, "a NaN", "a +Inf 17", "a{} 1e9"] {
        assert!(Exposition::parse(&format!("{line}\n")).is_ok(), "{line}");
    }
}

proptest! {
    #[test]
    fn no_text_breaks_the_reader(text in "[a-z0-9{}=\",\\\\ \n#é]{0,200}") {
        let _ = Exposition::parse(&text);
    }

    #[test]
    fn no_half_text_is_taken_for_a_whole_one(cut in 1..TEXT.len()) {
        prop_assume!(TEXT.is_char_boundary(cut) && TEXT.as_bytes()[cut - 1] != b'\n');
        prop_assert_eq!(Exposition::parse(&TEXT[..cut]), Err(Malformed::CutShort));
    }
}
