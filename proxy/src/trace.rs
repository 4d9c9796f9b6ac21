//! Names by which a request is found again: `x-request-id`, and `traceparent` as W3C Trace Context has it.

use crate::worker::Worker;

/// Text of up to 55 letters, without memory of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hex {
    bytes: [u8; 55],
    length: usize,
}

impl Hex {
    const EMPTY: Hex = Hex { bytes: [0; 55], length: 0 };

    /// The text, unless it is empty.
    pub(crate) fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.bytes[..self.length]).ok().filter(|text| !text.is_empty())
    }

    fn push(&mut self, text: &[u8]) {
        self.bytes[self.length..self.length + text.len()].copy_from_slice(text);
        self.length += text.len();
    }

    fn push_number(&mut self, number: u64) {
        let mut digits = [0; 16];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(number.to_be_bytes()) {
            let digits = HEX[usize::from(byte)];
            (pair[0], pair[1]) = (digits[0], digits[1]);
        }
        self.push(&digits);
    }
}

/// Two digits for each byte.
const HEX: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut table = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    table
};

/// A new id of a request: 32 hexadecimal digits.
pub(crate) fn request_id(worker: &Worker) -> Hex {
    let mut id = Hex::EMPTY;
    id.push_number(worker.random());
    id.push_number(worker.random());
    id
}

/// A new trace, if this proxy begins traces.
pub(crate) fn parent(worker: &Worker) -> Option<Hex> {
    let flags = worker.shared.limits.traces?.flags();
    let mut parent = Hex::EMPTY;
    parent.push(b"00-");
    parent.push_number(worker.random() | 1);
    parent.push_number(worker.random());
    parent.push(b"-");
    parent.push_number(worker.random() | 1);
    parent.push(b"-");
    parent.push(flags);
    Some(parent)
}

/// What a trace that this proxy begins says of itself. Samplers behind it follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traces {
    /// It is recorded.
    Sampled,
    /// It is not.
    Unsampled,
}

impl Traces {
    fn flags(self) -> &'static [u8] {
        match self {
            Traces::Sampled => b"01",
            Traces::Unsampled => b"00",
        }
    }
}
