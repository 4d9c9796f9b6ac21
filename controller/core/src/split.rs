//! Who gets which share of the traffic.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::revision::Revision;

/// A share of the traffic in percent: 0 to 100.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Weight(u8);

/// A share outside 0 to 100.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("weight {0} is outside 0 to 100")]
pub struct InvalidWeight(u8);

impl Weight {
    /// No traffic.
    pub const NONE: Weight = Weight(0);
    /// All traffic.
    pub const ALL: Weight = Weight(100);

    /// Takes a share in percent. Errors: [`InvalidWeight`] above 100.
    pub fn new(percent: u8) -> Result<Weight, InvalidWeight> {
        if percent <= 100 { Ok(Weight(percent)) } else { Err(InvalidWeight(percent)) }
    }

    /// The share in percent.
    pub fn percent(self) -> u8 {
        self.0
    }

    /// What the other side gets.
    pub fn rest(self) -> Weight {
        Weight(100 - self.0)
    }

    /// How many of `replicas` pods carry this share: rounded up, so at least one for any share above 0.
    pub fn of(self, replicas: u32) -> u32 {
        let pods = (u64::from(replicas) * u64::from(self.0)).div_ceil(100);
        u32::try_from(pods).unwrap_or(u32::MAX)
    }
}

impl TryFrom<u8> for Weight {
    type Error = InvalidWeight;

    fn try_from(percent: u8) -> Result<Weight, InvalidWeight> {
        Weight::new(percent)
    }
}

impl From<Weight> for u8 {
    fn from(weight: Weight) -> u8 {
        weight.0
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.0)
    }
}

/// Number of a split: rises by one with every split of a Rollout. Receivers refuse an older one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl Generation {
    /// The number after this one.
    pub fn next(self) -> Generation {
        Generation(self.0.saturating_add(1))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The traffic of one Rollout, divided among revisions. The weights add up to 100, or it is empty.
///
/// A revision with weight 0 is known to the proxies (its series exist at zero) and gets no traffic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Split {
    /// Which split this is.
    pub generation: Generation,
    /// Share of each revision.
    pub weights: BTreeMap<Revision, Weight>,
    /// The revision that gets the requests marked by the strategy's header match, whatever its weight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marked: Option<Revision>,
}

impl Split {
    /// Share of a revision; 0 for one that is not listed.
    pub fn weight(&self, revision: &Revision) -> Weight {
        self.weights.get(revision).copied().unwrap_or(Weight::NONE)
    }

    /// Whether any request can reach this revision: by weight or by mark.
    pub fn sends_to(&self, revision: &Revision) -> bool {
        self.weight(revision) > Weight::NONE || self.marked.as_ref() == Some(revision)
    }

    /// Whether both divide the traffic alike, whatever their generations.
    pub fn same_traffic(&self, other: &Split) -> bool {
        self.weights == other.weights && self.marked == other.marked
    }
}
