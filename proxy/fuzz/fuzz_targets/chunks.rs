//! Chunked bodies: read the same in any pieces and by a second, naive reader; and passed on without a fault.
#![no_main]

use libfuzzer_sys::fuzz_target;
use penstock_fuzz::{chunked, cuts};
use penstock_proxy_core::http1::chunked::{Chunks, Piece, trailers};

/// What is passed on as it stands, the data, and how many bytes of the input are the body; `None`: not all of it.
type Read = Result<Option<(Vec<u8>, Vec<u8>, usize)>, ()>;

fuzz_target!(|bytes: &[u8]| {
    let whole = read(bytes, &[]);
    assert_eq!(read(bytes, &cuts(bytes, 6)), whole, "in pieces");
    assert_eq!(run(bytes).is_err(), whole.is_err());
    let Ok(Some((passed, data, length))) = whole else { return };
    let (their_data, _, their_length) = chunked(bytes).expect("what is accepted has no fault");
    assert_eq!((&data, length), (&their_data, their_length));
    let (again, _, all) = chunked(&passed).expect("what is passed on has no fault");
    assert_eq!((again, all), (data, passed.len()));
});

/// Reads an input that comes in pieces.
fn read(bytes: &[u8], cuts: &[usize]) -> Read {
    let (mut chunks, mut at, mut passed, mut data) = (Chunks::default(), 0, Vec::new(), Vec::new());
    for end in cuts.iter().copied().chain([bytes.len()]) {
        loop {
            let input = &bytes[at..end];
            match chunks.next(input).map_err(drop)? {
                Piece::More => break,
                Piece::End => return Ok(Some((passed, data, at))),
                Piece::Frame(n) => {
                    passed.extend(&input[..n]);
                    at += n;
                }
                Piece::Extension(n) => at += n,
                Piece::Data(n) => {
                    passed.extend(&input[..n]);
                    data.extend(&input[..n]);
                    at += n;
                }
                Piece::Trailers(n) => {
                    if n > 2 {
                        for (name, value) in trailers(&input[..n]).map_err(drop)? {
                            passed.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
                        }
                    }
                    passed.extend(b"\r\n");
                    at += n;
                }
            }
        }
    }
    Ok(None)
}

/// Reads by runs where that is possible: it must not accept more, or less.
fn run(bytes: &[u8]) -> Result<usize, ()> {
    let (mut chunks, mut at) = (Chunks::default(), 0);
    loop {
        at += chunks.run(&bytes[at..]).map_err(drop)?;
        match chunks.next(&bytes[at..]).map_err(drop)? {
            Piece::More | Piece::End => return Ok(at),
            Piece::Trailers(n) => {
                trailers(&bytes[at..at + n]).map_err(drop)?;
                at += n;
            }
            Piece::Frame(n) | Piece::Data(n) | Piece::Extension(n) => at += n,
        }
    }
}
