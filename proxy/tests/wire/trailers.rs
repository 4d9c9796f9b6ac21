//! Fields behind a body: RFC 9110 section 6.5. They pass, and can't change what has been said before.

use crate::harness::Rig;
use crate::harness::strict::{Field, Framing};

fn fields(all: &[(&str, &str)]) -> Vec<Field> {
    all.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
}

fn rig(answer: &'static str) -> Rig {
    Rig::doing(move |_, client| client.try_send(answer))
}

const POST: &str =
    "POST / HTTP/1.1\r\nhost: shop\r\nte: trailers\r\nconnection: te\r\ntransfer-encoding: chunked\r\n";

#[test]
fn trailers_pass_in_both_directions_announced_or_not() {
    for announced in ["", "trailer: x-sum, x-more\r\n"] {
        let answer = format!(
            "HTTP/1.1 200 OK\r\n{announced}transfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 9\r\nx-more: a\r\nx-more: b\r\n\r\n"
        );
        let rig = Rig::doing(move |_, client| client.try_send(&answer));
        let mut client = rig.client();
        for _ in 0..2 {
            client.send(&format!(
                "{POST}{announced}\r\n2\r\nhi\r\n0\r\nx-sum: 7\r\nX-more:  c \r\nx-more:\r\n\r\n"
            ));
            let answer = client.answer();
            assert_eq!(
                answer.trailers,
                fields(&[("x-sum", "9"), ("x-more", "a"), ("x-more", "b")]),
                "{announced}"
            );
        }
        for heard in rig.tape.messages() {
            assert_eq!(
                heard.trailers,
                fields(&[("x-sum", "7"), ("x-more", "c"), ("x-more", "")]),
                "{announced}"
            );
        }
    }
}

/// They would be read as part of the head by a careless recipient.
#[test]
fn trailers_that_frame_or_address_a_message_are_dropped() {
    let bad = "content-length: 5\r\ntransfer-encoding: chunked\r\nhost: other\r\nconnection: x-sum\r\ntrailer: x\r\n\
               keep-alive: timeout=1\r\nte: gzip\r\nupgrade: websocket\r\nproxy-connection: close\r\n";
    let answer =
        format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n{bad}x-sum: 9\r\n\r\n");
    let rig = Rig::doing(move |_, client| client.try_send(&answer));
    let mut client = rig.client();
    for _ in 0..2 {
        client.send(&format!("{POST}\r\n2\r\nhi\r\n0\r\n{bad}x-sum: 7\r\n\r\n"));
        assert_eq!(client.answer().trailers, fields(&[("x-sum", "9")]));
    }
    for heard in rig.tape.messages() {
        assert_eq!((heard.trailers.clone(), heard.one("host")), (fields(&[("x-sum", "7")]), Some("shop")));
    }
}

#[test]
fn trailers_are_no_head() {
    let rig = rig("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx-role: admin\r\n\r\n");
    let mut client = rig.client();
    client.send(&format!("{POST}x-role: guest\r\n\r\n0\r\nx-role: admin\r\n\r\n"));
    let answer = client.answer();
    assert_eq!((answer.all("x-role"), answer.trailers.clone()), (vec![], fields(&[("x-role", "admin")])));
    let heard = rig.tape.messages().remove(0);
    assert_eq!(
        (heard.all("x-role"), heard.trailers.clone()),
        (vec!["guest"], fields(&[("x-role", "admin")]))
    );
}

#[test]
fn an_old_client_gets_the_body_and_no_trailers() {
    let rig = rig(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n2\r\nok\r\n0\r\nx-sum: 9\r\n\r\n",
    );
    let mut client = rig.client();
    client.send("GET / HTTP/1.0\r\nhost: shop\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.framing, answer.text().as_str()), (Framing::Close, "ok"));
}
