//! A closed loop that counts what fails and goes on: for what is to be done without a failed request.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::connection::{Connection, Failure};

/// After a failure, so that a dead server does not keep a core busy.
const PAUSE: Duration = Duration::from_millis(2);

/// What became of the requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) good: u64,
    pub(crate) failures: BTreeMap<Failure, u64>,
}

impl Tally {
    /// Those that failed.
    pub(crate) fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// In words, for instance `3 of 1000 (3 status 502)`.
    pub(crate) fn words(&self) -> String {
        let (failed, all) = (self.failed(), self.good + self.failed());
        let reasons: Vec<String> =
            self.failures.iter().map(|(why, n)| format!("{n} {}", why.words())).collect();
        if failed == 0 {
            format!("0 of {all}")
        } else {
            format!("{failed} of {all} ({})", reasons.join(", "))
        }
    }
}

/// Running clients.
#[derive(Debug)]
pub(crate) struct Clients {
    shared: Rc<Shared>,
    tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    to: SocketAddr,
    requests: Vec<Vec<u8>>,
    tally: RefCell<Tally>,
    phase: Cell<Phase>,
}

/// What clients may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Anything.
    Open,
    /// Use the connections that they have, and open no other.
    Stay,
    /// Nothing more.
    Stop,
}

impl Clients {
    /// Starts so many, each sending these requests in turn. Runs on the local set of the caller.
    pub(crate) fn start(to: SocketAddr, clients: usize, requests: Vec<Vec<u8>>) -> Clients {
        let shared = Shared { to, requests, tally: RefCell::default(), phase: Cell::new(Phase::Open) };
        let (shared, mut tasks) = (Rc::new(shared), JoinSet::new());
        for client in 0..clients {
            tasks.spawn_local(run(Rc::clone(&shared), client));
        }
        Clients { shared, tasks }
    }

    /// Says what they may do from here on.
    pub(crate) fn may(&self, phase: Phase) {
        self.shared.phase.set(phase);
    }

    /// Good answers so far.
    pub(crate) fn good(&self) -> u64 {
        self.shared.tally.borrow().good
    }

    /// Clients that have not ended.
    pub(crate) fn left(&mut self) -> usize {
        while self.tasks.try_join_next().is_some() {}
        self.tasks.len()
    }

    /// Lets what is under way end, and counts.
    pub(crate) async fn stop(mut self) -> Tally {
        self.may(Phase::Stop);
        while self.tasks.join_next().await.is_some() {}
        self.shared.tally.take()
    }
}

async fn run(shared: Rc<Shared>, first: usize) {
    let (mut connection, mut n) = (None, first);
    loop {
        if connection.as_ref().is_some_and(Connection::is_closed) {
            connection = None;
        }
        let may = match shared.phase.get() {
            Phase::Open => true,
            Phase::Stay => connection.is_some(),
            Phase::Stop => false,
        };
        if !may {
            return;
        }
        n += 1;
        let request = &shared.requests[n % shared.requests.len()];
        let outcome = send(&mut connection, shared.to, request).await;
        let failed = outcome.is_err();
        {
            let mut tally = shared.tally.borrow_mut();
            match outcome {
                Ok(()) => tally.good += 1,
                Err(failure) => *tally.failures.entry(failure).or_default() += 1,
            }
        }
        if failed {
            sleep(PAUSE).await;
        }
    }
}

async fn send(kept: &mut Option<Connection>, to: SocketAddr, request: &[u8]) -> Result<(), Failure> {
    let mut connection = match kept.take() {
        Some(connection) => connection,
        None => Connection::open(to).await?,
    };
    let answer = connection.send(request).await?;
    if !answer.closes {
        *kept = Some(connection);
    }
    Ok(())
}
