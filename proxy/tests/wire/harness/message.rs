//! HTTP/1.1 by hand, so that tests see every byte.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use super::PATIENCE;

/// A message as it was read.
#[derive(Clone, Debug, Default)]
pub struct Response {
    pub first_line: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
    /// The body ended as announced.
    pub complete: bool,
}

impl Response {
    pub fn status(&self) -> u16 {
        self.first_line.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The first line's method or path, when it is a request.
    pub fn word(&self, n: usize) -> &str {
        self.first_line.split(' ').nth(n).unwrap_or_default()
    }
}

/// One connection.
pub struct Client {
    pub stream: TcpStream,
    pub reader: BufReader<TcpStream>,
}

impl Client {
    pub fn connect(port: u16) -> Client {
        Client::over(TcpStream::connect(("127.0.0.1", port)).unwrap())
    }

    pub fn over(stream: TcpStream) -> Client {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        Client { stream, reader }
    }

    pub fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    /// Sends a GET and reads the answer.
    pub fn get(&mut self, path: &str, headers: &str) -> Response {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: shop\r\n{headers}\r\n"));
        self.response()
    }

    /// Reads a response, its body included.
    pub fn response(&mut self) -> Response {
        self.try_read(false).unwrap()
    }

    /// Reads a response to HEAD.
    pub fn head(&mut self) -> Response {
        self.read_head().unwrap()
    }

    /// Reads a message; `None` if the connection ends before it begins.
    pub fn try_read(&mut self, is_request: bool) -> Option<Response> {
        let mut message = self.read_head()?;
        let chunked = message.header("transfer-encoding").is_some_and(|v| v.contains("chunked"));
        let length = message.header("content-length").map(|v| v.parse::<usize>().unwrap());
        let bodiless = matches!(message.status(), 100..=199 | 204 | 304) && !is_request;
        if chunked {
            self.read_chunks(&mut message);
        } else if let Some(length) = length.filter(|_| !bodiless) {
            let read = self.reader.by_ref().take(length as u64).read_to_end(&mut message.body);
            message.complete = read.is_ok_and(|read| read == length);
        } else if is_request || bodiless {
            message.complete = true;
        } else {
            message.complete = self.reader.read_to_end(&mut message.body).is_ok();
        }
        Some(message)
    }

    pub fn read_head(&mut self) -> Option<Response> {
        let first_line = self.line()?;
        Some(Response { first_line, headers: self.fields(), ..Response::default() })
    }

    pub fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.reader.read_line(&mut line).ok()?;
        (read > 0).then(|| line.trim_end().to_owned())
    }

    pub fn read_exact(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.reader.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Whether the peer has closed the connection, or reset it.
    pub fn is_closed(&mut self) -> bool {
        !matches!(self.reader.read(&mut [0]), Ok(1))
    }

    fn fields(&mut self) -> Vec<(String, String)> {
        let lines = std::iter::from_fn(|| self.line().filter(|line| !line.is_empty()));
        let split = |line: String| line.split_once(": ").map(|(n, v)| (n.to_lowercase(), v.to_owned()));
        lines.filter_map(split).collect()
    }

    fn read_chunks(&mut self, message: &mut Response) {
        while let Some(size) = self.line().and_then(|line| usize::from_str_radix(&line, 16).ok()) {
            if size == 0 {
                message.trailers = self.fields();
                message.complete = true;
                return;
            }
            let mut chunk = vec![0; size + 2];
            if self.reader.read_exact(&mut chunk).is_err() {
                return;
            }
            message.body.extend(&chunk[..size]);
        }
    }
}

/// One GET on a connection of its own.
pub fn get(port: u16, path: &str) -> Response {
    Client::connect(port).get(path, "connection: close\r\n")
}
