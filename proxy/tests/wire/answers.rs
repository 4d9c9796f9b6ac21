//! Answers of endpoints: where they end (RFC 9112 section 6.3), and those that are none.

use crate::harness::Rig;
use crate::harness::strict::{Broken, Framing, Kind, Message};
use crate::harness::tape::{Heard, OK, run_table};

/// What the endpoint does after the bytes of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Stays,
    Closes,
    Resets,
}

/// What the client has to get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Get {
    /// This status and body; the connection to the endpoint may be used again.
    Whole(u16, &'static str),
    /// The same, but the connection to the endpoint is not used again.
    Last(u16, &'static str),
    /// 502, and the connection to the endpoint is not used again.
    Bad,
    /// Either of the two before.
    LastOrBad(u16, &'static str),
    /// It may be forgiven: as if without a fault, or 502.
    WholeOrBad(u16, &'static str),
    /// An answer whose end the client sees to be missing; or 502.
    Cut,
}

use Get::{Bad, Cut, Last, LastOrBad, Whole, WholeOrBad};
use Then::{Closes, Resets, Stays};

struct Case {
    name: &'static str,
    method: &'static str,
    bytes: Vec<u8>,
    then: Then,
    get: Get,
}

fn case(name: &'static str, bytes: impl Into<Vec<u8>>, then: Then, get: Get) -> Case {
    Case { name, method: "GET", bytes: bytes.into(), then, get }
}

fn asked(method: &'static str, name: &'static str, bytes: &'static str, then: Then, get: Get) -> Case {
    Case { name, method, bytes: bytes.into(), then, get }
}

/// A 200 with these fields and this body.
fn with(name: &'static str, fields: &str, body: &str, then: Then, get: Get) -> Case {
    case(name, format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n{body}"), then, get)
}

fn run(cases: Vec<Case>) {
    let answers: Vec<(Vec<u8>, Then)> = cases.iter().map(|case| (case.bytes.clone(), case.then)).collect();
    let rig = Rig::doing(move |request, client| {
        let Ok(index) = request.word(1).trim_start_matches('/').parse::<usize>() else {
            return client.try_send(OK);
        };
        let (bytes, then) = &answers[index];
        if *then == Resets {
            client.reset_at_end();
        }
        client.try_send(bytes) && *then == Stays
    });
    let numbered: Vec<(usize, &Case)> = cases.iter().enumerate().collect();
    run_table(&numbered, |(_, case)| case.name.to_owned(), |(index, case)| check(&rig, *index, case));
}

fn check(rig: &Rig, index: usize, case: &Case) -> Result<(), String> {
    let mut client = rig.client();
    client.send(&format!("{} /{index} HTTP/1.1\r\nhost: shop\r\n\r\n", case.method));
    let kind = if case.method == "HEAD" { Kind::HeadResponse } else { Kind::Response };
    let mut answer = client.strict(kind);
    while answer.as_ref().is_ok_and(|answer| (102..200).contains(&answer.status())) {
        answer = client.strict(kind);
    }
    let cut = matches!(answer, Err(Broken::Cut(_) | Broken::Closed));
    let is =
        |status: u16, body: &str| answer.as_ref().is_ok_and(|a| a.status() == status && a.text() == body);
    let bad = answer.as_ref().is_ok_and(is_our_502);
    let good = match case.get {
        Whole(status, body) | Last(status, body) => is(status, body),
        Bad => bad,
        LastOrBad(status, body) | WholeOrBad(status, body) => bad || is(status, body),
        Cut => bad || cut,
    };
    if !good {
        return Err(format!("{answer:?} instead of {:?}", case.get));
    }
    let next =
        if cut { client.is_closed().then(|| rig.shop.get("/next").text()) } else { follow(&mut client, rig) };
    let heard = rig.tape.take();
    let by = connections(&heard);
    // A request that got no byte of an answer may have been sent once more.
    let sends = if case.bytes.is_empty() { 2..=3 } else { 2..=2 };
    let apart =
        sends.contains(&by.len()) && by.split_last().is_some_and(|(last, others)| !others.contains(last));
    match next {
        Some(text) if text == "ok" && (apart || !bad && matches!(case.get, Whole(..) | WholeOrBad(..))) => {
            Ok(())
        }
        next => Err(format!("{answer:?}, and then {next:?} by {by:?}")),
    }
}

/// The next answer of the same connection, or of another one if it has been closed.
fn follow(client: &mut crate::harness::Client, rig: &Rig) -> Option<String> {
    if client.try_send("GET /next HTTP/1.1\r\nhost: shop\r\n\r\n") {
        match client.strict(Kind::Response) {
            Ok(answer) => return Some(answer.text()),
            Err(Broken::Closed) => {}
            Err(other) => return Some(format!("{other:?}")),
        }
    }
    Some(rig.shop.get("/next").text())
}

fn is_our_502(answer: &Message) -> bool {
    answer.status() == 502 && answer.one("x-penstock-culprit") == Some("upstream")
}

fn connections(heard: &[Heard]) -> Vec<u16> {
    heard.iter().map(|heard| heard.connection).collect()
}

#[test]
fn an_answers_end_is_where_it_says() {
    let chunked = "transfer-encoding: chunked";
    run(vec![
        with("a length", "content-length: 2", "ok", Stays, Whole(200, "ok")),
        with("no body", "content-length: 0", "", Stays, Whole(200, "")),
        with("zeros before the length", "content-length: 0002", "ok", Stays, Whole(200, "ok")),
        with("chunks", chunked, "1\r\no\r\n1\r\nk\r\n0\r\n\r\n", Stays, Whole(200, "ok")),
        with(
            "chunks in capitals",
            "Transfer-Encoding: Chunked",
            "2\r\nok\r\n0\r\n\r\n",
            Stays,
            Whole(200, "ok"),
        ),
        with("chunks with extensions", chunked, "2;a=\"b\"\r\nok\r\n0;c\r\n\r\n", Stays, Whole(200, "ok")),
        with("chunks with trailers", chunked, "2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n", Stays, Whole(200, "ok")),
        with("the end of the connection", "x: y", "ok", Closes, Last(200, "ok")),
        with("the end, and nothing before it", "x: y", "", Closes, Last(200, "")),
        with("a wish to close", "content-length: 2\r\nconnection: close", "ok", Stays, Last(200, "ok")),
        with(
            "a wish to close among others",
            "content-length: 2\r\nconnection: x, Close",
            "ok",
            Stays,
            Last(200, "ok"),
        ),
        with(
            "a wish to close, and chunks",
            "connection: close\r\ntransfer-encoding: chunked",
            "2\r\nok\r\n0\r\n\r\n",
            Stays,
            Last(200, "ok"),
        ),
        with(
            "twice the same length",
            "content-length: 2\r\ncontent-length: 2",
            "ok",
            Stays,
            WholeOrBad(200, "ok"),
        ),
        case("1.0 closes", "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", Stays, Last(200, "ok")),
        case("1.0 to the end", "HTTP/1.0 200 OK\r\n\r\nok", Closes, Last(200, "ok")),
        case("no reason", "HTTP/1.1 200 \r\ncontent-length: 2\r\n\r\nok", Stays, Whole(200, "ok")),
        case(
            "no reason and no blank",
            "HTTP/1.1 200\r\ncontent-length: 2\r\n\r\nok",
            Stays,
            WholeOrBad(200, "ok"),
        ),
        case(
            "a reason beyond ASCII",
            b"HTTP/1.1 200 \xe9\xff\r\ncontent-length: 2\r\n\r\nok".to_vec(),
            Stays,
            Whole(200, "ok"),
        ),
        case(
            "a status of one's own",
            "HTTP/1.1 299 Own\r\ncontent-length: 2\r\n\r\nok",
            Stays,
            Whole(299, "ok"),
        ),
        case(
            "a status of a class of one's own",
            "HTTP/1.1 600 Own\r\ncontent-length: 2\r\n\r\nok",
            Stays,
            WholeOrBad(600, "ok"),
        ),
    ]);
}

#[test]
fn some_answers_have_no_body_whatever_they_say() {
    run(vec![
        asked(
            "HEAD",
            "HEAD with a length",
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n",
            Stays,
            Whole(200, ""),
        ),
        asked(
            "HEAD",
            "HEAD with chunks",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            Stays,
            Whole(200, ""),
        ),
        asked("HEAD", "HEAD with nothing", "HTTP/1.1 200 OK\r\n\r\n", Stays, Whole(200, "")),
        asked("GET", "204", "HTTP/1.1 204 No Content\r\n\r\n", Stays, Whole(204, "")),
        asked(
            "GET",
            "204 with a length of zero",
            "HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n",
            Stays,
            Whole(204, ""),
        ),
        asked("GET", "304", "HTTP/1.1 304 Not Modified\r\netag: \"a\"\r\n\r\n", Stays, Whole(304, "")),
        asked(
            "GET",
            "304 with a length",
            "HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n",
            Stays,
            Whole(304, ""),
        ),
        asked(
            "GET",
            "304 with chunks",
            "HTTP/1.1 304 Not Modified\r\ntransfer-encoding: chunked\r\n\r\n",
            Stays,
            Whole(304, ""),
        ),
    ]);
}

/// Bytes that nobody asked for would be the answer to the next request, maybe somebody else's.
#[test]
fn bytes_behind_an_answer_are_nobodys_answer() {
    let evil = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
    let and_evil = |head: &str| format!("{head}\r\n\r\n{evil}");
    run(vec![
        with("a length", "content-length: 2", &format!("ok{evil}"), Stays, Last(200, "ok")),
        with(
            "chunks",
            "transfer-encoding: chunked",
            &format!("2\r\nok\r\n0\r\n\r\n{evil}"),
            Stays,
            Last(200, "ok"),
        ),
        with("a line too many", "content-length: 2", "ok\r\n", Stays, Last(200, "ok")),
        case("204", and_evil("HTTP/1.1 204 No Content"), Stays, Last(204, "")),
        case(
            "204 with a length",
            format!("{}evil", "HTTP/1.1 204 No Content\r\ncontent-length: 4\r\n\r\n"),
            Stays,
            LastOrBad(204, ""),
        ),
        case("304", and_evil("HTTP/1.1 304 Not Modified"), Stays, Last(304, "")),
        asked(
            "HEAD",
            "a body for HEAD",
            "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
            Stays,
            Last(200, ""),
        ),
    ]);
}

#[test]
fn an_answer_that_can_be_read_in_two_ways_is_refused() {
    let chunked = "transfer-encoding: chunked";
    run(vec![
        with("two lengths", "content-length: 2\r\ncontent-length: 3", "ok", Stays, Bad),
        with("a list of two lengths", "content-length: 2, 3", "ok", Stays, Bad),
        with("no number", "content-length: x", "ok", Stays, Bad),
        with("a sign", "content-length: +2", "ok", Stays, Bad),
        with("less than nothing", "content-length: -2", "ok", Stays, Bad),
        with("2^64 and 2", "content-length: 18446744073709551618", "ok", Stays, Bad),
        with("an empty length", "content-length:", "ok", Closes, Bad),
        with(
            "a length and chunks",
            "content-length: 2\r\ntransfer-encoding: chunked",
            "2\r\nok\r\n0\r\n\r\n",
            Stays,
            LastOrBad(200, "ok"),
        ),
        with(
            "chunks and a length",
            "transfer-encoding: chunked\r\ncontent-length: 2",
            "2\r\nok\r\n0\r\n\r\n",
            Stays,
            LastOrBad(200, "ok"),
        ),
        with("chunked twice", "transfer-encoding: chunked, chunked", "2\r\nok\r\n0\r\n\r\n", Stays, Bad),
        with("gzip", "transfer-encoding: gzip", "ok", Closes, Bad),
        with("gzip before chunked", "transfer-encoding: gzip, chunked", "2\r\nok\r\n0\r\n\r\n", Stays, Bad),
        with("gzip behind chunked", "transfer-encoding: chunked, gzip", "2\r\nok\r\n0\r\n\r\n", Stays, Bad),
        with("a letter behind chunked", "transfer-encoding: chunkedx", "2\r\nok\r\n0\r\n\r\n", Stays, Bad),
        case(
            "1.0 with chunks",
            format!("HTTP/1.0 200 OK\r\n{chunked}\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
            Stays,
            Bad,
        ),
        with("a blank before the colon", "content-length : 2", "ok", Stays, WholeOrBad(200, "ok")),
        with("a folded line", "content-length: 2\r\nx: y\r\n z", "ok", Stays, WholeOrBad(200, "ok")),
        with("a bare CR", "content-length: 2\r\nx: y\rz: 1", "ok", Stays, Bad),
        with("NUL", "content-length: 2\r\nx: y\0z", "ok", Stays, Bad),
        with("a control character", "content-length: 2\r\nx: y\x01z", "ok", Stays, Bad),
        with("a name with a blank", "content-length: 2\r\nx y: z", "ok", Stays, Bad),
        with("no name", "content-length: 2\r\n: z", "ok", Stays, Bad),
        with("no colon", "content-length: 2\r\nxyz", "ok", Stays, Bad),
    ]);
}

#[test]
fn what_is_no_answer_is_not_passed_on() {
    let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(2 << 20));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(20_000));
    let interim = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".repeat(20_000);
    run(vec![
        case("nothing", "", Closes, Bad),
        case("nothing, and a reset", "", Resets, Bad),
        case("an empty line", "\r\n", Closes, Bad),
        case("another protocol", "SSH-2.0-OpenSSH_9.2\r\n\r\n", Stays, Bad),
        case("TLS", b"\x15\x03\x01\0\x02\x02\x46\r\n\r\n".to_vec(), Stays, Bad),
        case("HTTP/2", "HTTP/2.0 200 OK\r\ncontent-length: 2\r\n\r\nok", Stays, Bad),
        case("HTTP/0.9", "ok, this is it\r\n\r\n", Closes, Bad),
        case("small letters", "http/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", Stays, Bad),
        case("no status", "HTTP/1.1 OK\r\ncontent-length: 2\r\n\r\nok", Stays, Bad),
        case("a short status", "HTTP/1.1 20 OK\r\ncontent-length: 2\r\n\r\nok", Stays, Bad),
        case("a long status", "HTTP/1.1 2000 OK\r\ncontent-length: 2\r\n\r\nok", Stays, Bad),
        case("a status below 100", "HTTP/1.1 099 OK\r\ncontent-length: 2\r\n\r\nok", Stays, Bad),
        case("a bare CR in the reason", "HTTP/1.1 200 O\rK\r\ncontent-length: 2\r\n\r\nok", Stays, Bad),
        case("NUL in the reason", "HTTP/1.1 200 O\0K\r\ncontent-length: 2\r\n\r\nok", Stays, Bad),
        case("half a head", "HTTP/1.1 200 OK\r\ncontent-len", Closes, Bad),
        case("a field too long", long, Stays, Bad),
        case("fields too many", many, Stays, Bad),
        case(
            "101 unasked",
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
            Stays,
            Bad,
        ),
        case("interim answers and no final one", "HTTP/1.1 102 Processing\r\n\r\n", Closes, Cut),
        case("interim answers without end", interim, Closes, Cut),
    ]);
}

#[test]
fn an_answer_that_is_cut_never_looks_whole() {
    let (length, chunked) = ("content-length: 10", "transfer-encoding: chunked");
    run(vec![
        with("a length, and nothing", length, "", Closes, Cut),
        with("a length, and half", length, "hello", Closes, Cut),
        with("a length, and all but one", length, "hellohell", Closes, Cut),
        with("a length, and half, and a reset", length, "hello", Resets, Cut),
        with("chunks, and none", chunked, "", Closes, Cut),
        with("chunks, and half a size", chunked, "5", Closes, Cut),
        with("chunks, and a size", chunked, "5\r\n", Closes, Cut),
        with("chunks, and half of one", chunked, "5\r\nhel", Closes, Cut),
        with("chunks, and one without its end", chunked, "5\r\nhello", Closes, Cut),
        with("chunks, and one", chunked, "5\r\nhello\r\n", Closes, Cut),
        with("chunks, and half of the last", chunked, "5\r\nhello\r\n0", Closes, Cut),
        with("chunks, and no end of trailers", chunked, "5\r\nhello\r\n0\r\n", Closes, Cut),
        with("chunks, and half a trailer", chunked, "5\r\nhello\r\n0\r\nx-su", Closes, Cut),
        with("chunks, and no end behind a trailer", chunked, "5\r\nhello\r\n0\r\nx-sum: 7\r\n", Closes, Cut),
        with("chunks, and a reset", chunked, "5\r\nhello\r\n", Resets, Cut),
        with("chunks, and then nonsense", chunked, "5\r\nhello\r\nnonsense\r\n\r\n", Stays, Cut),
        with("a chunk longer than it says", chunked, "5\r\nhello!\r\n0\r\n\r\n", Stays, Cut),
        with("a chunk's size with a bare LF", chunked, "5\nhello\r\n0\r\n\r\n", Stays, Cut),
        with("a chunk's size beyond 2^64", chunked, "10000000000000005\r\nhello\r\n0\r\n\r\n", Stays, Cut),
        with("a trailer that is none", chunked, "5\r\nhello\r\n0\r\nx : y\r\n\r\n", Stays, Cut),
        with("no length, and a reset", "x: y", "hello", Resets, Cut),
    ]);
}

#[test]
fn an_old_client_gets_no_chunks_and_sees_a_cut() {
    let rig = Rig::doing(|request, client| {
        client.try_send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n");
        request.word(1) == "/whole" && client.try_send("1\r\n!\r\n0\r\nx-sum: 7\r\n\r\n")
    });
    let mut client = rig.client();
    client.send("GET /whole HTTP/1.0\r\nhost: shop\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.framing, answer.text().as_str()), (Framing::Close, "hello!"));
    let mut client = rig.client();
    client.send("GET /cut HTTP/1.0\r\nhost: shop\r\n\r\n");
    let cut = client.strict(Kind::Response);
    assert!(matches!(cut, Err(Broken::Cut(_) | Broken::Closed)), "only a reset tells it: {cut:?}");
}

#[test]
fn an_answer_without_a_length_becomes_chunks_and_the_client_goes_on() {
    let rig = Rig::doing(|_, client| {
        client.try_send("HTTP/1.1 200 OK\r\nx: y\r\n\r\n");
        client.try_send("hel");
        client.try_send("lo");
        false
    });
    let mut client = rig.client();
    for _ in 0..3 {
        client.send("GET / HTTP/1.1\r\nhost: shop\r\n\r\n");
        let answer = client.answer();
        assert_eq!((answer.framing, answer.text().as_str()), (Framing::Chunked, "hello"));
    }
}
