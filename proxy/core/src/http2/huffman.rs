//! The code of HPACK's strings (RFC 7541 section 5.2 and appendix B). It is canonical: the lengths tell the codes.

use super::Reason;

/// Length of each byte's code in bits (RFC 7541 appendix B).
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28,
    28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6,
    6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7,
    8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7,
    15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24,
    23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23,
    23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26,
    26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20,
    21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27,
    27, 27, 26,
];
/// The longest code.
const LONGEST: usize = 30;
/// The longest one that is looked up at once.
const QUICK: usize = 8;

/// What is derived from the lengths.
struct Code {
    /// For the first eight bits: the byte and the length of its code; length 0: it is longer.
    quick: [(u8, u8); 1 << QUICK],
    /// Of each length: the code behind its last one, moved to the left of 32 bits.
    end: [u64; LONGEST + 1],
    /// Of each length: its first code, and where its bytes begin.
    first: [(u32, usize); LONGEST + 1],
    /// Bytes in the order of their codes.
    bytes: [u8; 256],
}

static CODE: Code = derive();

const fn derive() -> Code {
    let mut code = Code {
        quick: [(0, 0); 1 << QUICK],
        end: [0; LONGEST + 1],
        first: [(0, 0); LONGEST + 1],
        bytes: [0; 256],
    };
    let (mut length, mut next, mut count) = (1, 0_u32, 0);
    while length <= LONGEST {
        next <<= 1;
        code.first[length] = (next, count);
        let mut byte = 0;
        while byte < 256 {
            if LENGTHS[byte] as usize == length {
                code.bytes[count] = byte as u8;
                count += 1;
                if length <= QUICK {
                    let (mut at, rest) = ((next as usize) << (QUICK - length), 1 << (QUICK - length));
                    let end = at + rest;
                    while at < end {
                        code.quick[at] = (byte as u8, length as u8);
                        at += 1;
                    }
                }
                next += 1;
            }
            byte += 1;
        }
        code.end[length] = (next as u64) << (32 - length);
        length += 1;
    }
    code
}

/// Appends what a coded string means. Errors: it is none, or its end is no filling (RFC 7541 section 5.2).
pub(super) fn decode(coded: &[u8], out: &mut Vec<u8>) -> Result<(), Reason> {
    // Bits stand at the left.
    let (mut bits, mut count) = (0_u64, 0_usize);
    let mut coded = coded.iter();
    loop {
        while count <= 56 {
            let Some(byte) = coded.next() else { break };
            bits |= u64::from(*byte) << (56 - count);
            count += 8;
        }
        let (byte, length) = CODE.quick[(bits >> 56) as usize];
        let (byte, length) =
            if length > 0 { (byte, usize::from(length)) } else { long(bits).unwrap_or((0, 65)) };
        if length > count {
            // Less than a byte of ones fills the last one.
            let filled = count < 8 && (bits | u64::MAX >> count) == u64::MAX;
            return if filled { Ok(()) } else { Err(Reason::COMPRESSION_ERROR) };
        }
        out.push(byte);
        bits <<= length;
        count -= length;
    }
}

/// A code of more than eight bits. `None`: the end of a string, which no string has in it.
fn long(bits: u64) -> Option<(u8, usize)> {
    let word = bits >> 32;
    let length = (QUICK + 1..=LONGEST).find(|length| word < CODE.end[*length])?;
    let (first, begin) = CODE.first[length];
    let offset = (word >> (32 - length)) as u32 - first;
    Some((CODE.bytes[begin + offset as usize], length))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Codes a string, bit by bit.
    pub(crate) fn encode(text: &[u8]) -> Vec<u8> {
        let mut bits = Vec::new();
        for byte in text {
            let length = usize::from(LENGTHS[usize::from(*byte)]);
            let (first, begin) = CODE.first[length];
            let place = CODE.bytes[begin..].iter().position(|b| b == byte).unwrap();
            let code = first as usize + place;
            bits.extend((0..length).rev().map(|bit| code >> bit & 1 == 1));
        }
        bits.resize(bits.len().next_multiple_of(8), true);
        bits.chunks(8).map(|byte| byte.iter().fold(0, |all, bit| all << 1 | u8::from(*bit))).collect()
    }

    fn decoded(coded: &[u8]) -> Result<Vec<u8>, Reason> {
        let mut out = Vec::new();
        decode(coded, &mut out).map(|()| out)
    }

    /// RFC 7541 appendices C.4 and C.6.
    #[test]
    fn the_examples_of_the_rfc_are_read() {
        let hex = |text: &str| -> Vec<u8> {
            (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect()
        };
        for (coded, text) in [
            ("f1e3c2e5f23a6ba0ab90f4ff", "www.example.com"),
            ("a8eb10649cbf", "no-cache"),
            ("25a849e95ba97d7f", "custom-key"),
            ("d07abe941054d444a8200595040b8166e082a62d1bff", "Mon, 21 Oct 2013 20:13:21 GMT"),
            ("9d29ad171863c78f0b97c8e9ae82ae43d3", "https://www.example.com"),
        ] {
            assert_eq!(decoded(&hex(coded)).unwrap(), text.as_bytes(), "{text}");
            assert_eq!(encode(text.as_bytes()), hex(coded), "{text}");
        }
    }

    #[test]
    fn what_does_not_end_as_it_must_is_refused() {
        assert_eq!(decoded(&[]), Ok(Vec::new()));
        assert!(decoded(&[0xff]).is_err(), "a byte of filling");
        assert!(decoded(&[0x00]).is_err(), "zeros behind the last byte");
        assert!(decoded(&[0xff, 0xff, 0xff, 0xff]).is_err(), "the end of a string");
        assert!(decoded(&[0xfe]).is_err(), "half a code");
    }

    proptest! {
        #[test]
        fn what_is_coded_is_read(text in any::<Vec<u8>>()) {
            prop_assert_eq!(decoded(&encode(&text)), Ok(text));
        }

        #[test]
        fn whatever_can_be_read_is_coded_so(coded in any::<Vec<u8>>()) {
            if let Ok(text) = decoded(&coded) {
                prop_assert_eq!(encode(&text), coded);
            }
        }
    }
}
