//! Sticky users: which revision a key belongs to.
//!
//! Weighted rendezvous hashing (Thaler and Ravishankar 1998; Schindelhauer and Schomaker 2005): each revision draws
//! a lot for the key, the best lot wins. A lot depends on the revision's own name and weight alone, so a rising
//! weight only ever adds keys, and every proxy and every restart agrees.

use http::header::HeaderName;

use crate::head::Head;

/// Where the key of a user is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sticky {
    /// The value of this header.
    Header(HeaderName),
    /// The value of this cookie.
    Cookie(String),
}

/// An annotation that is neither `header:NAME` nor `cookie:NAME`.
#[derive(Debug, PartialEq, Eq)]
pub struct InvalidSticky;

impl std::str::FromStr for Sticky {
    type Err = InvalidSticky;

    fn from_str(text: &str) -> Result<Sticky, InvalidSticky> {
        let (kind, name) = text.split_once(':').ok_or(InvalidSticky)?;
        match (kind.trim(), name.trim()) {
            (_, "") => Err(InvalidSticky),
            ("header", name) => name.parse().map(Sticky::Header).map_err(|_| InvalidSticky),
            ("cookie", name) => Ok(Sticky::Cookie(name.to_owned())),
            _ => Err(InvalidSticky),
        }
    }
}

impl Sticky {
    /// The key of a request, if it has one that is not empty.
    pub fn key<'a>(&'a self, head: &'a impl Head) -> Option<&'a [u8]> {
        let key = match self {
            Sticky::Header(name) => head.values(name.as_str()).next()?,
            Sticky::Cookie(name) => cookie(head, name)?,
        };
        (!key.is_empty()).then_some(key)
    }
}

fn cookie<'a>(head: &'a impl Head, name: &str) -> Option<&'a [u8]> {
    let pairs = head.values("cookie").flat_map(|line| line.split(|b| *b == b';'));
    pairs.map(<[u8]>::trim_ascii).find_map(|pair| {
        let value = pair.strip_prefix(name.as_bytes())?;
        value.strip_prefix(b"=")
    })
}

/// The candidate that the key belongs to: index into `candidates` of (name, weight). `None` if no weight is above 0.
pub fn of<'a>(key: &[u8], candidates: impl Iterator<Item = (&'a str, u32)>) -> Option<usize> {
    let lots = candidates.enumerate().filter(|(_, (_, weight))| *weight > 0);
    lots.map(|(i, (name, weight))| (i, lot(key, name, weight)))
        .min_by(|(_, a), (_, b)| a.total_cmp(b))
        .map(|(i, _)| i)
}

/// An exponentially distributed lot with rate `weight`.
fn lot(key: &[u8], name: &str, weight: u32) -> f64 {
    let bits = hash(&[name.as_bytes(), &[0], key]) >> 11;
    let uniform = (bits as f64 + 0.5) / (1u64 << 53) as f64;
    -uniform.ln() / f64::from(weight)
}

/// FNV-1a, stirred at the end as in SplitMix64, for FNV alone leaves the high bits of short keys alike.
pub fn hash(parts: &[&[u8]]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.iter());
    let mut x =
        bytes.fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3));
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn on_canary(user: u32, weight: u32) -> bool {
        of(user.to_string().as_bytes(), [("v1", 100 - weight), ("v2", weight)].into_iter()) == Some(1)
    }

    proptest! {
        #[test]
        fn a_rising_weight_only_ever_adds_users(user in any::<u32>(), low in 0..=100u32, rise in 0..=100u32) {
            let high = (low + rise).min(100);
            prop_assert!(!on_canary(user, low) || on_canary(user, high));
        }

        #[test]
        fn order_in_the_list_does_not_matter(key in any::<[u8; 8]>(), a in 0..1000u32, b in 1..1000u32) {
            let forth = of(&key, [("a", a), ("b", b)].into_iter());
            let back = of(&key, [("b", b), ("a", a)].into_iter());
            prop_assert_eq!(forth, back.map(|i| 1 - i));
        }
    }

    #[test]
    fn shares_follow_the_weights() {
        for weight in [1, 10, 25, 50, 90] {
            let users = (0..50_000).filter(|user| on_canary(*user, weight)).count();
            let expected = 500 * weight as usize;
            assert!(users.abs_diff(expected) < 800, "{users} users instead of {expected}");
        }
    }

    #[test]
    fn keys_are_found_in_headers_and_cookies() {
        let request = http::Request::builder().header("x-user", "ada");
        let request =
            request.header("cookie", "a=1; session=s1").header("cookie", "b=2;empty=").body(()).unwrap();
        let key = |text: &str| text.parse::<Sticky>().unwrap().key(&request).map(<[u8]>::to_vec);
        assert_eq!(key("header:x-user"), Some(b"ada".to_vec()));
        assert_eq!(key("header: X-User"), Some(b"ada".to_vec()));
        assert_eq!(key("cookie:session"), Some(b"s1".to_vec()));
        assert_eq!(key("cookie:b"), Some(b"2".to_vec()));
        assert_eq!(key("cookie:empty"), None);
        assert_eq!(key("cookie:sess"), None);
    }

    #[test]
    fn other_annotations_are_refused() {
        for text in ["", "x-user", "header:", "cookie: ", "query:user", "header:no spaces"] {
            assert_eq!(text.parse::<Sticky>(), Err(InvalidSticky), "{text}");
        }
    }
}
