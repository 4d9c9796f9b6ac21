//! Requests, byte for byte, and what has to become of them.

use super::strict::{Broken, Kind, Message};
use super::tape::{Rig, run_table};

/// What has to become of a request.
#[derive(Clone, Copy, Debug)]
pub enum Want {
    /// The endpoint gets it, with this first line and body.
    Passed(&'static str, &'static str),
    /// One of these statuses, no byte for the endpoint, and the end of the connection: nobody knows where it ends.
    Refused(&'static [u16]),
    /// One of these statuses, and no byte for the endpoint. Its end is known, so the connection may go on.
    Denied(&'static [u16]),
    /// The endpoint never gets all of a request, and the connection ends, with or without a status of 400 and above.
    Broken,
    /// It may be forgiven: passed on without the fault, or broken.
    Either(&'static str, &'static str),
}

/// A name, the bytes of a request, and what has to become of it.
pub type Case = (&'static str, Vec<u8>, Want);

const BAD: &[u16] = &[400];

pub fn passed(line: &'static str, body: &'static str) -> Want {
    Want::Passed(line, body)
}

pub fn refused() -> Want {
    Want::Refused(BAD)
}

pub fn denied() -> Want {
    Want::Denied(BAD)
}

pub fn either(line: &'static str, body: &'static str) -> Want {
    Want::Either(line, body)
}

/// Sends each request on a connection of its own, and one more behind it that would be the first one to show that the
/// end of the first was taken for something else.
pub fn run(cases: &[Case]) {
    let rig = Rig::new();
    run_table(cases, |case| case.0.to_owned(), |case| check(&rig, case));
    let odd: Vec<_> = rig.tape.take().into_iter().filter(|heard| heard.message.is_ok()).collect();
    assert!(odd.is_empty(), "heard later: {odd:?}");
    assert_eq!(rig.shop.get("/").text(), "ok", "others are served");
}

const PROBE: &str = "GET /probe HTTP/1.1\r\nhost: shop\r\n\r\n";

fn check(rig: &Rig, (_, request, want): &Case) -> Result<(), String> {
    rig.tape.take();
    let mut client = rig.client();
    client.try_send([request, PROBE.as_bytes()].concat());
    let kind = if request.starts_with(b"HEAD ") { Kind::HeadResponse } else { Kind::Response };
    let answer = client.strict(kind);
    let old = request.split(|b| *b == b'\n').next().unwrap().ends_with(b"HTTP/1.0\r");
    let passes = |client: &mut super::Client, line, body| {
        let probed = old || client.strict(Kind::Response).is_ok_and(|answer| answer.status() == 200);
        let heard: Vec<_> = rig.tape.take().into_iter().map(|heard| heard.message).collect();
        if !probed {
            return Err(format!("no answer to the next request; heard {heard:?}"));
        }
        is_heard(&heard, line, body, old)
    };
    match (want, answer) {
        (Want::Passed(line, body) | Want::Either(line, body), Ok(answer)) if answer.status() == 200 => {
            passes(&mut client, line, body)
        }
        (Want::Refused(statuses), Ok(answer)) => refusal(rig, &mut client, &answer, statuses),
        (Want::Denied(statuses), Ok(answer)) => denial(rig, &mut client, &answer, statuses),
        (Want::Either(..), Ok(answer)) if answer.status() == 400 => denial(rig, &mut client, &answer, BAD),
        (Want::Either(..) | Want::Broken, answer) => broken(rig, &mut client, answer),
        (want, answer) => Err(format!("{answer:?} instead of {want:?}")),
    }
}

fn is_heard(heard: &[Result<Message, Broken>], line: &str, body: &str, old: bool) -> Result<(), String> {
    let lines: Vec<_> = heard.iter().map(|m| m.as_ref().map(|m| (m.line.as_str(), m.text()))).collect();
    let wanted = [Ok((line, body.to_owned())), Ok(("GET /probe HTTP/1.1", String::new()))];
    let wanted = if old { &wanted[..1] } else { &wanted[..] };
    let hosts = heard.iter().flatten().all(|message| message.all("host").len() == 1);
    if lines == wanted && hosts { Ok(()) } else { Err(format!("the endpoint heard {heard:?}")) }
}

fn refusal(rig: &Rig, client: &mut super::Client, answer: &Message, statuses: &[u16]) -> Result<(), String> {
    let heard = rig.tape.take();
    if !statuses.contains(&answer.status()) || !heard.is_empty() {
        return Err(format!("{answer:?} instead of {statuses:?}; the endpoint heard {heard:?}"));
    }
    match client.strict(Kind::Response) {
        Err(Broken::Closed) => Ok(()),
        more => Err(format!("the connection goes on after {}: {more:?}", answer.line)),
    }
}

fn denial(rig: &Rig, client: &mut super::Client, answer: &Message, statuses: &[u16]) -> Result<(), String> {
    let next = client.strict(Kind::Response);
    let heard: Vec<_> = rig.tape.take().into_iter().filter_map(|heard| heard.message.ok()).collect();
    let goes_on = matches!(&next, Ok(next) if next.status() == 200);
    let lines: Vec<_> = heard.iter().map(|m| m.line.as_str()).collect();
    let as_it_should = if goes_on { lines == ["GET /probe HTTP/1.1"] } else { lines.is_empty() };
    if statuses.contains(&answer.status()) && as_it_should && (goes_on || next == Err(Broken::Closed)) {
        return Ok(());
    }
    Err(format!("{answer:?}, then {next:?}; the endpoint heard {heard:?}"))
}

fn broken(rig: &Rig, client: &mut super::Client, answer: Result<Message, Broken>) -> Result<(), String> {
    let ended = answer.is_err() || client.strict(Kind::Response) == Err(Broken::Closed);
    let answered = answer.as_ref().is_ok_and(|answer| answer.status() < 400);
    let heard = rig.tape.take();
    let whole = heard.iter().any(|heard| heard.message.is_ok());
    if !ended || answered || whole || matches!(answer, Err(Broken::Wrong(_))) {
        return Err(format!("{answer:?}, ended: {ended}; the endpoint heard {heard:?}"));
    }
    Ok(())
}
