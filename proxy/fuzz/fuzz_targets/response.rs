//! Heads of responses: read the same by a second, naive reader, in any pieces; and passed on without a fault.
#![no_main]

use libfuzzer_sys::fuzz_target;
use penstock_fuzz::{cuts, head};
use penstock_proxy_core::http1::field::MAX_FIELDS;
use penstock_proxy_core::http1::framing::Framing;
use penstock_proxy_core::http1::response::{MAX_HEAD, ResponseHead};
use penstock_proxy_core::http1::rewrite::{self, Back, BodyGoes};
use penstock_proxy_core::http1::{Parsed, Version};

fuzz_target!(|bytes: &[u8]| {
    let mut ours = ResponseHead::default();
    let Ok(Parsed::Complete(length)) = ours.parse(bytes) else { return };
    let theirs = head(bytes).expect("what is accepted has no fault");
    assert_eq!(theirs.length, length);
    let fields: Vec<_> = ours.fields.iter().map(|f| (f.name.bytes(bytes), f.value.bytes(bytes))).collect();
    assert_eq!(fields, theirs.fields);
    let status = std::str::from_utf8(&theirs.line[9..12]).expect("digits");
    assert_eq!(status.parse(), Ok(ours.status));
    for cut in cuts(bytes, 4) {
        let part = ResponseHead::default().parse(&bytes[..cut.min(length - 1)]);
        assert_eq!(part, Ok(Parsed::Partial), "the first {cut} bytes");
    }
    let Ok(framing) = ours.framing(false) else { return };
    let said = theirs.framing().expect("one framing, without a fault");
    let bodiless = matches!(ours.status, 100..=199 | 204 | 304);
    match (framing, said) {
        (Framing::None, _) if bodiless => {}
        (Framing::None, penstock_fuzz::Framing::Length(0)) => {}
        (Framing::UntilClose, penstock_fuzz::Framing::Unsaid) => {}
        (Framing::Length(ours), penstock_fuzz::Framing::Length(theirs)) => assert_eq!(ours, theirs),
        (Framing::Chunked, penstock_fuzz::Framing::Chunked) => {}
        (ours, theirs) => panic!("{ours:?} and {theirs:?}"),
    }
    passes_on(bytes, &ours, said, bodiless);
});

fn passes_on(bytes: &[u8], ours: &ResponseHead, said: penstock_fuzz::Framing, bodiless: bool) {
    for version in [Version::Http10, Version::Http11] {
        for (close, body) in [
            (false, BodyGoes::AsItComes),
            (true, BodyGoes::AsItComes),
            (false, BodyGoes::InChunks),
            (true, BodyGoes::UntilClose),
        ] {
            let mut out = Vec::new();
            rewrite::response(&mut out, bytes, ours, Back { version, close, body });
            let passed = head(&out).expect("what is passed on has no fault");
            assert_eq!(passed.length, out.len());
            assert_eq!(passed.line[9..12], bytes[9..12]);
            let framing = passed.framing();
            match body {
                BodyGoes::InChunks => assert_eq!(framing, Some(penstock_fuzz::Framing::Chunked)),
                BodyGoes::UntilClose => assert_eq!(framing, Some(penstock_fuzz::Framing::Unsaid)),
                BodyGoes::AsItComes if bodiless => assert!(framing.is_some()),
                BodyGoes::AsItComes => assert_eq!(framing, Some(said)),
            }
            for name in ["keep-alive", "proxy-connection"] {
                assert!(passed.values(name).is_empty(), "{name}");
            }
            let mut again = ResponseHead::default();
            let read = again.parse(&out);
            // What is added may be more than a head of ours has.
            let many = passed.fields.len() > MAX_FIELDS || out.len() > MAX_HEAD;
            assert!(read == Ok(Parsed::Complete(out.len())) || many && read.is_err(), "{read:?}");
        }
    }
}
