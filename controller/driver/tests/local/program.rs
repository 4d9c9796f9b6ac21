//! The program that pods run in these tests: this executable again, told by its environment what to do.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

/// Variable with the words that say what to do.
pub(crate) const ACT: &str = "TEST_ACT";

/// The command that runs [`act`].
pub(crate) fn command() -> Vec<String> {
    let me = std::env::current_exe().unwrap().to_str().unwrap().to_owned();
    [me.as_str(), "--exact", "program::act", "--nocapture", "--test-threads=1"].map(str::to_owned).to_vec()
}

/// Waits until something holds, for 20 seconds at most.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Whether a process runs; a zombie does not.
pub(crate) fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

/// No test by itself: does what the words in [`ACT`] say, one after the other.
#[test]
fn act() {
    let Ok(words) = std::env::var(ACT) else { return };
    for word in words.split_whitespace() {
        match word.split_once('=').unwrap_or((word, "")) {
            ("say", text) => println!("\n{text}"),
            ("exit", code) => std::process::exit(code.parse().unwrap()),
            ("child", words) => {
                drop(Command::new("/proc/self/exe").args(&command()[1..]).env(ACT, words).spawn().unwrap())
            }
            ("sleep", _) => std::thread::sleep(Duration::from_secs(60)),
            ("write", path) => std::fs::write(path, std::env::var("PORT").unwrap_or_default()).unwrap(),
            ("serve", healthy) => serve(healthy),
            ("ignore-sigterm", _) => unstoppable(),
            ("save", dir) => crate::disk::save(std::path::Path::new(dir)),
            ("supervise", dir) => crate::pods::supervise(std::path::Path::new(dir)),
            _ => panic!("unknown word {word}"),
        }
    }
}

/// Answers `/healthz` with 200 as soon as the file `healthy` exists (at once when it is not named), else 503.
fn serve(healthy: &str) {
    let port: u16 = std::env::var("PORT").unwrap().parse().unwrap();
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        let mut head = [0; 1024];
        let _ = stream.read(&mut head);
        let well = healthy.is_empty() || std::path::Path::new(healthy).exists();
        let status = if well { "200 OK" } else { "503 Service Unavailable" };
        let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    }
}

/// Goes on in a shell that does not care for SIGTERM.
fn unstoppable() {
    use std::os::unix::process::CommandExt;
    let script = "trap '' TERM; echo unstoppable; while :; do sleep 0.05; done";
    panic!("{}", Command::new("sh").args(["-c", script]).exec());
}
