//! What of a request decides where it goes, whatever it came in.

use http::request::Parts;
use http::{HeaderMap, Request};

/// The head of a request.
pub trait Head {
    /// Its method.
    fn method(&self) -> &str;

    /// The path of its target; empty for a target without one.
    fn path(&self) -> &str;

    /// The query of its target, without the question mark.
    fn query(&self) -> Option<&str>;

    /// All values of the header with this name, which is in small letters, in order.
    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]>;
}

impl<B> Head for Request<B> {
    fn method(&self) -> &str {
        self.method().as_str()
    }

    fn path(&self) -> &str {
        self.uri().path()
    }

    fn query(&self) -> Option<&str> {
        self.uri().query()
    }

    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        values(self.headers(), name)
    }
}

impl Head for Parts {
    fn method(&self) -> &str {
        self.method.as_str()
    }

    fn path(&self) -> &str {
        self.uri.path()
    }

    fn query(&self) -> Option<&str> {
        self.uri.query()
    }

    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        values(&self.headers, name)
    }
}

impl<H: Head> Head for &H {
    fn method(&self) -> &str {
        (**self).method()
    }

    fn path(&self) -> &str {
        (**self).path()
    }

    fn query(&self) -> Option<&str> {
        (**self).query()
    }

    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        (**self).values(name)
    }
}

/// Up to so many names, looking at each is quicker than making a key of what is looked for.
const FEW: usize = 16;

fn values<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    let few = headers.keys_len() <= FEW;
    let of_few =
        few.then(|| headers.iter().filter(move |(key, _)| key.as_str() == name).map(|(_, value)| value));
    let of_many = (!few).then(|| headers.get_all(name).iter());
    let all = of_few.into_iter().flatten().chain(of_many.into_iter().flatten());
    all.map(http::HeaderValue::as_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_among_few_and_many() {
        let mut request = Request::builder().header("x-a", "1").header("X-B", "2").header("x-a", "3");
        for count in [0, 40] {
            for n in 0..count {
                request = request.header(format!("x-{n}"), "y");
            }
            let built = request.body(()).unwrap();
            assert_eq!(Head::values(&built, "x-a").collect::<Vec<_>>(), [b"1", b"3"]);
            assert_eq!(Head::values(&built, "x-b").count() + Head::values(&built, "x-c").count(), 1);
            request = Request::builder().header("x-a", "1").header("X-B", "2").header("x-a", "3");
        }
    }
}
