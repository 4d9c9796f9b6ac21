//! Clients. All of them fail when an answer is not what it has to be.

pub(crate) mod closed;
pub(crate) mod connection;
pub(crate) mod crowd;
pub(crate) mod h2load;
pub(crate) mod open;
pub(crate) mod server;
pub(crate) mod wrk;

/// What a closed loop has measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    /// Answers, all of them good.
    pub(crate) requests: u64,
    /// Of them in a second.
    pub(crate) rate: f64,
}
