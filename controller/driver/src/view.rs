//! What who only looks needs of a place with Rollouts: a folder or a cluster. The page is served from it.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use penstock_core::observation::OrderKind;
use penstock_signals::RolloutName;
use serde_json::Value;
use tokio::sync::watch;

use crate::history::Histories;

/// A place with Rollouts.
pub trait View: Send + Sync + 'static {
    /// What it is, for people: `folder shop`.
    fn place(&self) -> String;

    /// Whether all that is there was read once.
    fn is_ready(&self) -> bool;

    /// All Rollouts with their versions, by name. A version tells only whether anything has changed.
    fn list(&self) -> Vec<(RolloutName, String)>;

    /// One Rollout as it was told last.
    fn get(&self, name: &RolloutName) -> Option<Value>;

    /// Rings when any of them has changed, come or gone.
    fn changes(&self) -> watch::Receiver<u64>;

    /// What was measured of releases.
    fn histories(&self) -> &Arc<Histories>;

    /// Gives an order. Returns its id where the place gives one out at once.
    fn order<'a>(
        &'a self,
        name: &'a RolloutName,
        wish: Wish,
    ) -> BoxFuture<'a, Result<Option<String>, OrderError>>;

    /// Who it is that has come with this token.
    fn admit<'a>(&'a self, token: Option<&'a str>) -> BoxFuture<'a, Result<Person, Stranger>>;

    /// Whether a person may do that.
    fn may<'a>(&'a self, person: &'a Person, right: Right<'a>) -> BoxFuture<'a, Result<bool, Stranger>>;
}

/// What a person wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// What to do.
    pub kind: OrderKind,
    /// Who wants it.
    pub who: String,
    /// Why; may be empty.
    pub reason: String,
}

/// Why an order was not taken.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// There is no such Rollout.
    #[error("there is no Rollout {0} any more")]
    Missing(RolloutName),
    /// It can't be taken as it is; with what to do.
    #[error("{0}")]
    Refused(String),
    /// It could not be written; another try may help.
    #[error("the order could not be written: {0}")]
    Unwritten(String),
}

/// Somebody who is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Person {
    /// As the record will say it.
    pub name: String,
    /// As a cluster tells people of one name apart.
    pub uid: Option<String>,
    /// What rights may hang on.
    pub groups: Vec<String>,
    /// What else rights may hang on.
    pub extra: Vec<(String, Vec<String>)>,
}

/// Why somebody is not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stranger {
    /// No token was given, where one is needed.
    #[error("this page needs a token")]
    Unnamed,
    /// The token is none, is forged, or has expired.
    #[error("this token is not valid, or not any more")]
    Unknown,
    /// Nobody can say at the moment.
    #[error("it can't be found out who you are: {0}")]
    Unasked(String),
}

/// What somebody may be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right<'a> {
    /// To see the Rollouts of a namespace; of all when left out.
    See(Option<&'a str>),
    /// To give orders to one Rollout.
    Order(&'a RolloutName),
}
