//! Questions to metric sources, and their answers.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::revision::Revision;
use crate::time::Time;

/// What the machine wants to know of one revision.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// Name of the metric that asks; the answer carries it back.
    pub metric: String,
    /// The revision that is judged.
    pub revision: Revision,
    /// The revision that it would replace.
    pub stable: Revision,
    /// What is asked.
    pub asks: Asks,
}

/// What is asked of a source.
#[derive(Clone, Debug, PartialEq)]
pub enum Asks {
    /// Per proxy instance: requests in all, and how many of them failed.
    Errors,
    /// Per proxy instance: requests in all, and how many of them were slower than this.
    SlowerThan(Duration),
    /// One number by the user's own query.
    Value(String),
}

/// What came back for a question.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Name of the metric that asked.
    pub metric: String,
    /// The revision that was asked about.
    pub revision: Revision,
    /// What the source said.
    pub result: Result<Sample, NoData>,
}

/// Why a source has nothing to say, in words for a person, with what to do where that is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{0}")]
#[serde(transparent)]
pub struct NoData(pub String);

/// One measurement.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// When the numbers were true at the source: of several, the oldest.
    pub at: Time,
    /// The numbers.
    pub value: Reading,
}

/// The numbers of a measurement.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// Raw counters by proxy instance. They rise, or begin anew at zero when the proxy does.
    Counts {
        /// Instance (`pod` or address) to its counters.
        instances: BTreeMap<String, Counts>,
        /// For [`Asks::SlowerThan`]: the bucket edge that stood in for the limit, when it was another one.
        edge: Option<Duration>,
        /// Instances that should be among them and are not, with why. What the others tell can be bad, but not good.
        missing: BTreeMap<String, NoData>,
    },
    /// The value of the user's own query. Never NaN or infinite.
    Value(f64),
}

/// A raw counter pair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Requests in all, those that the client gave up left out.
    pub total: u64,
    /// How many of them were bad: at most `total`.
    pub bad: u64,
}

impl Counts {
    /// Both together.
    pub fn plus(self, other: Counts) -> Counts {
        Counts { total: self.total.saturating_add(other.total), bad: self.bad.saturating_add(other.bad) }
    }
}
