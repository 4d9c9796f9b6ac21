use proptest::prelude::*;

use super::*;
use penstock_core::revision::Revision;
use penstock_core::sample::Counts;

const ASKED: Time = Time(1_800_000_000_000);

fn question(asks: Asks) -> Question {
    Question {
        metric: "errors".to_owned(),
        revision: Revision::new("7d9f8").unwrap(),
        stable: Revision::new("5c6b7").unwrap(),
        asks,
    }
}

fn checkout() -> RolloutName {
    RolloutName { namespace: "shop".to_owned(), name: "checkout".to_owned() }
}

fn slower_than(ms: u64) -> Asks {
    Asks::SlowerThan(Duration::from_millis(ms))
}

/// One element of a vector, as JSON; evaluated at second 1000.
fn element(part: &str, labels: &str, value: &str) -> String {
    format!(r#"{{"metric":{{"penstock_part":"{part}",{labels}}},"value":[1000,"{value}"]}}"#)
}

fn vector(elements: &[String]) -> String {
    let elements = elements.join(",");
    format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{elements}]}}}}"#)
}

fn answer(asks: Asks, body: &str) -> Result<Sample, String> {
    reply(200, body.as_bytes()).and_then(|a| parse(&question(asks), &a, ASKED)).map_err(|no| no.0)
}

fn refusal(asks: Asks, body: &str) -> String {
    answer(asks, body).expect_err("an answer out of nothing")
}

fn counts(sample: &Sample) -> BTreeMap<String, (u64, u64)> {
    match &sample.value {
        Reading::Counts { instances, .. } => {
            instances.iter().map(|(i, Counts { total, bad })| (i.clone(), (*total, *bad))).collect()
        }
        Reading::Value(value) => panic!("a value, {value}"),
    }
}

const A: &str = r#""instance":"10.0.0.1:9901","pod":"router-a""#;
const B: &str = r#""instance":"10.0.0.2:9901","pod":"router-b""#;

fn two_proxies() -> Vec<String> {
    vec![
        element("count", &format!(r#"{A},"culprit":"none""#), "90"),
        element("count", &format!(r#"{A},"culprit":"upstream""#), "10"),
        element("count", &format!(r#"{B},"culprit":"none""#), "50"),
        element("count", &format!(r#"{B},"culprit":"upstream""#), "0"),
        element("at", A, "998.5"),
        element("at", B, "996.25"),
    ]
}

fn histogram(labels: &str, buckets: &[(&str, &str)]) -> Vec<String> {
    let mut elements = vec![element("at", labels, "999")];
    elements.extend(buckets.iter().map(|(le, n)| element("count", &format!(r#"{labels},"le":"{le}""#), n)));
    elements
}

#[test]
fn queries_ask_for_raw_counters() {
    let asked = |asks| query(&question(asks), &checkout()).unwrap();
    insta::assert_snapshot!("query_errors", asked(Asks::Errors));
    insta::assert_snapshot!("query_slower", asked(slower_than(500)));
    for asks in [Asks::Errors, slower_than(500)] {
        let text = asked(asks);
        assert!(!text.contains("rate(") && !text.contains("increase("), "{text}");
    }
}

#[test]
fn placeholders_are_filled() {
    let text = r#"sum(x{r="{{revision}}",s='{{ stable }}'}) / y{n=`{{namespace}}`,o="{{rollout}}"}"#;
    let filled = query(&question(Asks::Value(text.to_owned())), &checkout()).unwrap();
    assert_eq!(filled, r#"sum(x{r="7d9f8",s='5c6b7'}) / y{n=`shop`,o="checkout"}"#);
}

#[test]
fn a_placeholder_that_cannot_be_filled_says_so() {
    let refused = |text: &str, rollout: &RolloutName| {
        query(&question(Asks::Value(text.to_owned())), rollout).expect_err("a filled query").0
    };
    insta::assert_snapshot!(refused("x{{canary}}", &checkout()), @"the query has an unknown placeholder `{{canary}}`; known are {{revision}}, {{stable}}, {{rollout}} and {{namespace}}");
    insta::assert_snapshot!(refused("x{{revision", &checkout()), @"the query has `{{` without `}}`: `{{revision`");
    let hostile = RolloutName { namespace: r#"a"} or vector(0)"#.to_owned(), name: "x".to_owned() };
    insta::assert_snapshot!(refused("x{{namespace}}", &hostile), @r#"{{namespace}} is `a\"} or vector(0)`, which can't stand in a query: expected letters, digits, `-`, `.` and `_`"#);
    assert!(refused(&"x".repeat(20_000), &checkout()).contains("recording rule"));
}

#[test]
fn a_hostile_name_stays_inside_its_string() {
    let hostile = RolloutName { namespace: r#"a"b\c"#.to_owned(), name: "x.y\nz".to_owned() };
    let text = query(&question(Asks::Errors), &hostile).unwrap();
    assert!(
        text.contains(r#"namespace="a\"b\\c",exported_namespace=~"|a\\\"b\\\\c",rollout="x.y\nz""#),
        "{text}"
    );
}

#[test]
fn errors_are_counted_by_instance() {
    let sample = answer(Asks::Errors, &vector(&two_proxies())).unwrap();
    let expected = [("router-a".to_owned(), (100, 10)), ("router-b".to_owned(), (50, 0))];
    assert_eq!(counts(&sample), BTreeMap::from(expected));
    assert_eq!(sample.at, Time(ASKED.0 - 3750), "as old as the older of both scrapes");
}

#[test]
fn a_proxy_that_is_scraped_by_two_jobs_counts_once() {
    let other = r#""instance":"10.0.0.1:9901""#;
    let mut elements = two_proxies();
    elements.push(element("count", &format!(r#"{other},"culprit":"none""#), "91"));
    elements.push(element("count", &format!(r#"{other},"culprit":"upstream""#), "9"));
    elements.push(element("at", other, "999"));
    let sample = answer(Asks::Errors, &vector(&elements)).unwrap();
    assert_eq!(counts(&sample)["router-a"], (101, 10));
    assert_eq!(counts(&sample).len(), 2);
}

#[test]
fn latency_is_counted_at_the_edge_of_the_limit() {
    let body = vector(&histogram(A, &[("0.25", "70"), ("0.5", "90"), ("1.0", "95"), ("+Inf", "100")]));
    let sample = answer(slower_than(500), &body).unwrap();
    assert_eq!(counts(&sample)["router-a"], (100, 10));
    assert!(matches!(sample.value, Reading::Counts { edge: None, .. }));
}

#[test]
fn the_edge_above_the_limit_stands_in_and_is_named() {
    let mut elements = histogram(A, &[("0.5", "90"), ("1", "95"), ("2.5", "99"), ("+Inf", "100")]);
    elements.extend(histogram(B, &[("0.5", "9"), ("2.5", "9"), ("+Inf", "10")]));
    let sample = answer(slower_than(700), &vector(&elements)).unwrap();
    assert_eq!(
        counts(&sample),
        BTreeMap::from([("router-a".to_owned(), (100, 1)), ("router-b".to_owned(), (10, 1))])
    );
    let Reading::Counts { edge, .. } = sample.value else { panic!("a value") };
    assert_eq!(edge, Some(Duration::from_millis(2500)), "the smallest that both have");
}

#[test]
fn no_answer_is_made_of_half_a_one() {
    let no_edge = vector(&histogram(A, &[("0.5", "90"), ("+Inf", "95")]));
    insta::assert_snapshot!(refusal(slower_than(700), &no_edge), @"the latency histograms of the proxies have no common edge at or above 700ms; list the limit in the HTTPRoute's annotation penstock.dev/latency-limits");

    let warned = vector(&two_proxies()).replace(r#""status""#, r#""warnings":["store b: timeout"],"status""#);
    insta::assert_snapshot!(refusal(Asks::Errors, &warned), @"half an answer, Prometheus warns: store b: timeout");
}

/// What is told of router-a alone, and why router-b is missing.
fn halved(asks: Asks, elements: &[String]) -> String {
    let sample = answer(asks, &vector(elements)).unwrap();
    assert!(counts(&sample).keys().eq(["router-a"]), "{sample:?}");
    let Reading::Counts { missing, .. } = sample.value else { panic!("a value") };
    missing.into_iter().map(|(name, why)| format!("{name}: {why}")).collect()
}

#[test]
fn half_an_answer_names_what_is_missing() {
    let only_a = || two_proxies().into_iter().filter(|e| !e.contains("router-b")).collect::<Vec<_>>();
    let mut missed = only_a();
    missed.push(element("missed", B, "0"));
    insta::assert_snapshot!(halved(Asks::Errors, &missed), @"router-b: half an answer: Prometheus can't scrape proxy router-b; see its page Status > Target health");

    *missed.last_mut().unwrap() = element("missed", r#""instance":"10.0.0.2:9901""#, "1");
    insta::assert_snapshot!(halved(Asks::Errors, &missed), @"10.0.0.2:9901: half an answer: proxy 10.0.0.2:9901 doesn't know revision 7d9f8 (yet)");

    let mut undated = two_proxies();
    undated.pop();
    insta::assert_snapshot!(halved(Asks::Errors, &undated), @"router-b: Prometheus doesn't say when it scraped proxy router-b");

    let mut half = two_proxies();
    half.remove(3);
    insta::assert_snapshot!(halved(Asks::Errors, &half), @"router-b: half an answer: proxy router-b tells only some of its request counters; do relabelling rules drop series by `culprit`?");

    for value in ["NaN", "+Inf", "-1", "0.5", "1e300", "18446744073709551616"] {
        let mut elements = two_proxies();
        elements[2] = element("count", &format!(r#"{B},"culprit":"none""#), value);
        let why = halved(Asks::Errors, &elements);
        assert!(why.starts_with("router-b") && why.contains("which no counter can be"), "{value}: {why}");
    }

    let latency = |buckets: &[(&str, &str)]| {
        let mut elements = histogram(A, &[("0.5", "90"), ("1", "95"), ("+Inf", "100")]);
        elements.extend(histogram(B, buckets));
        halved(slower_than(500), &elements)
    };
    insta::assert_snapshot!(latency(&[("0.5", "90"), ("1", "95")]), @"router-b: the latency histogram of proxy router-b is incomplete or contradicts itself; do relabelling rules drop series by `le`?");
    assert_eq!(latency(&[("0.5", "90"), ("+Inf", "80")]), latency(&[("0.5", "90"), ("1", "95")]));
    insta::assert_snapshot!(latency(&[("half", "90"), ("+Inf", "95")]), @"router-b: proxy router-b has a histogram bucket with the edge `half`, which is no number");
}

#[test]
fn a_proxy_that_one_of_two_jobs_can_not_scrape_is_not_missing() {
    let mut elements = two_proxies();
    elements.push(element("missed", B, "0"));
    let sample = answer(Asks::Errors, &vector(&elements)).unwrap();
    assert!(matches!(&sample.value, Reading::Counts { missing, .. } if missing.is_empty()), "{sample:?}");
}

#[test]
fn proxies_that_are_all_missing_make_no_data() {
    let missed = vector(&[element("missed", B, "0")]);
    insta::assert_snapshot!(refusal(Asks::Errors, &missed), @"half an answer: Prometheus can't scrape proxy router-b; see its page Status > Target health");
}

#[test]
fn an_empty_answer_is_no_data() {
    insta::assert_snapshot!(refusal(Asks::Errors, &vector(&[])), @"no series penstock_requests_total of revision 7d9f8; does Prometheus scrape the proxies, with `honor_labels: true` if its targets carry labels `namespace`, `rollout` or `revision`, and classic histograms?");
    insta::assert_snapshot!(refusal(slower_than(500), &vector(&[])), @"no series penstock_request_latency_seconds of revision 7d9f8; does Prometheus scrape the proxies, with `honor_labels: true` if its targets carry labels `namespace`, `rollout` or `revision`, and classic histograms?");
    insta::assert_snapshot!(refusal(Asks::Value("x".to_owned()), &vector(&[])), @"the query yields nothing; try it in Prometheus, and mind labels and names");
}

#[test]
fn series_that_nobody_can_be_blamed_for_are_no_data() {
    let nameless = vector(&[element("count", r#""culprit":"none""#, "1")]);
    assert!(refusal(Asks::Errors, &nameless).contains("no label `instance`"));
}

#[test]
fn a_query_of_ones_own_yields_one_number() {
    let scalar =
        |v: &str| format!(r#"{{"status":"success","data":{{"resultType":"scalar","result":[1000,"{v}"]}}}}"#);
    let value = |body: &str| answer(Asks::Value("x".to_owned()), body);
    assert_eq!(value(&scalar("4.5")), Ok(Sample { at: ASKED, value: Reading::Value(4.5) }));
    let single = vector(&[element("x", r#""a":"b""#, "-2")]);
    assert_eq!(value(&single), Ok(Sample { at: ASKED, value: Reading::Value(-2.0) }));

    let several = vector(&[element("x", r#""a":"b""#, "1"), element("x", r#""a":"c""#, "2")]);
    insta::assert_snapshot!(value(&several).unwrap_err(), @"the query yields 2 values instead of one; wrap it in sum(…) or max(…)");
    insta::assert_snapshot!(value(&scalar("NaN")).unwrap_err(), @"the query yields NaN; it divides by zero, most likely, as long as there are no requests");
    insta::assert_snapshot!(value(&scalar("-Inf")).unwrap_err(), @"the query yields -inf; it divides by zero, most likely, as long as there are no requests");
    let range =
        r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1,"2"]]}]}}"#;
    insta::assert_snapshot!(value(range).unwrap_err(), @"the query yields a range of values; remove the range selector");
    let string = r#"{"status":"success","data":{"resultType":"string","result":[1,"x"]}}"#;
    assert!(value(string).unwrap_err().contains("can't be understood"));
    let histogram =
        r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"histogram":[1,{}]}]}}"#;
    assert!(value(histogram).unwrap_err().contains("can't be understood"));
}

#[test]
fn what_is_not_prometheus_says_so() {
    let refused = |status, body: &str| reply(status, body.as_bytes()).expect_err("an answer").0;
    let wrong = r#"{"status":"error","errorType":"bad_data","error":"1:3: parse error: unexpected \"}\""}"#;
    insta::assert_snapshot!(refused(400, wrong), @r#"Prometheus refused the query (HTTP 400): 1:3: parse error: unexpected "}""#);
    insta::assert_snapshot!(refused(200, "<html>\nhello"), @"the answer can't be understood; expected numbers as Prometheus' /api/v1/query gives them, and got: <html> hello");
    insta::assert_snapshot!(refused(302, ""), @"answers HTTP 302 (redirect); give the address that it points to");
    insta::assert_snapshot!(refused(401, "who are you"), @"answers HTTP 401; it wants credentials: who are you");
    insta::assert_snapshot!(refused(404, "nope"), @"answers HTTP 404; is this Prometheus, and does the address need a path prefix?");
    insta::assert_snapshot!(refused(503, "full"), @"answers HTTP 503: full");
    assert!(refused(200, r#"{"status":"success"}"#).contains("can't be understood"));
    assert!(refused(200, &"ü".repeat(100_000)).len() < 2000);
}

proptest! {
    #[test]
    fn no_answer_breaks_the_reader(body in r#"[\[\]{}":,a-z0-9.+]{0,200}"#, status in 0u16..600) {
        let _ = reply(status, body.as_bytes());
    }

    #[test]
    fn whatever_the_numbers_bad_is_at_most_total(
        values in prop::collection::vec((prop_oneof![Just(A), Just(B)], prop_oneof![Just("none"), Just("upstream"), Just("client")], 0u64..1 << 60), 0..12)
    ) {
        let mut elements = vec![element("at", A, "999"), element("at", B, "999")];
        elements.extend(values.iter().map(|(i, c, v)| element("count", &format!(r#"{i},"culprit":"{c}""#), &v.to_string())));
        if let Ok(sample) = answer(Asks::Errors, &vector(&elements)) {
            prop_assert!(counts(&sample).values().all(|(total, bad)| bad <= total));
        }
    }

    #[test]
    fn a_filled_query_keeps_everything_else(text in "[a-z(){}\" ]{0,40}") {
        let whole = !text.contains("{{");
        let filled = query(&question(Asks::Value(text.clone())), &checkout());
        prop_assert!(!whole || filled == Ok(text));
    }
}
