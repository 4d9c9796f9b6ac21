//! Who visitors are and what they may, remembered for a moment: the API server is not asked at each request.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::{HeaderMap, StatusCode, header};
use penstock_driver::view::{Person, Right, Stranger, View};
use penstock_signals::RolloutName;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use crate::limits::Rate;
use crate::trouble::Trouble;

/// A right that was taken away, or a token that ends, counts no longer than this.
const REMEMBERED: Duration = Duration::from_secs(10);
/// Most answers that are remembered of each kind.
const MOST: usize = 1024;
/// Questions about people that are under way at the same time.
const ASKED: usize = 8;
/// Questions about people each second, and at once: a flood of forged tokens does not get further.
const EACH_SECOND: f64 = 20.0;
const AT_ONCE: f64 = 60.0;
/// Longest token, in bytes.
const TOKEN: usize = 16 << 10;

type Hash = [u8; 32];

/// Who visitors are and what they may.
pub(crate) struct People {
    view: Arc<dyn View>,
    tokens: bool,
    known: Memory<Hash, Result<Person, Stranger>>,
    rights: Memory<(Person, Asked), bool>,
    asking: Semaphore,
    rate: Rate<()>,
}

/// A right as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Asked {
    See(Option<String>),
    Order(RolloutName),
}

impl People {
    pub(crate) fn new(view: Arc<dyn View>, tokens: bool) -> People {
        People {
            view,
            tokens,
            known: Memory::default(),
            rights: Memory::default(),
            asking: Semaphore::new(ASKED),
            rate: Rate::new(EACH_SECOND, AT_ONCE),
        }
    }

    /// Whether visitors need a token.
    pub(crate) fn need_tokens(&self) -> bool {
        self.tokens
    }

    /// Who sends these headers.
    pub(crate) async fn who(&self, headers: &HeaderMap) -> Result<Person, Trouble> {
        if !self.tokens {
            return Ok(self.view.admit(None).await?);
        }
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = given.and_then(|value| value.strip_prefix("Bearer ")).map(str::trim);
        let token = token.filter(|token| !token.is_empty()).ok_or(Stranger::Unnamed)?;
        if token.len() > TOKEN {
            return Err(Stranger::Unknown.into());
        }
        let hash: Hash = Sha256::digest(token).into();
        if let Some(known) = self.known.get(&hash) {
            return Ok(known?);
        }
        let answer = {
            let _turn = self.turn().await?;
            self.view.admit(Some(token)).await
        };
        // Who could not be asked about is asked about again.
        if !matches!(answer, Err(Stranger::Unasked(_))) {
            self.known.put(hash, answer.clone());
        }
        Ok(answer?)
    }

    /// Whether a person may see the Rollouts of a namespace, or of all.
    pub(crate) async fn may_see(&self, person: &Person, namespace: Option<&str>) -> Result<bool, Trouble> {
        self.may(person, Asked::See(namespace.map(str::to_owned)), Right::See(namespace)).await
    }

    /// Whether a person may give orders to a Rollout.
    pub(crate) async fn may_order(&self, person: &Person, name: &RolloutName) -> Result<bool, Trouble> {
        self.may(person, Asked::Order(name.clone()), Right::Order(name)).await
    }

    async fn may(&self, person: &Person, asked: Asked, right: Right<'_>) -> Result<bool, Trouble> {
        if !self.tokens {
            return Ok(self.view.may(person, right).await?);
        }
        let key = (person.clone(), asked);
        if let Some(known) = self.rights.get(&key) {
            return Ok(known);
        }
        let answer = {
            let _turn = self.turn().await?;
            self.view.may(person, right).await?
        };
        self.rights.put(key, answer);
        Ok(answer)
    }

    async fn turn(&self) -> Result<tokio::sync::SemaphorePermit<'_>, Trouble> {
        if !self.rate.take(&()) {
            return Err(Trouble::busy());
        }
        let turn = tokio::time::timeout(Duration::from_secs(3), self.asking.acquire()).await;
        turn.ok().and_then(Result::ok).ok_or_else(Trouble::busy)
    }
}

/// That somebody may not see a namespace's Rollouts, or those of all.
pub(crate) fn forbidden_to_see(person: &Person, namespace: Option<&str>) -> Trouble {
    let of = namespace.map_or("any namespace".to_owned(), |namespace| format!("the namespace {namespace}"));
    let text = format!("{} may not see Rollouts of {of}", person.name);
    let remedy = match namespace {
        Some(namespace) => format!("ask for the role `view` there: {}", bind(person, "view", namespace)),
        None => format!("ask for the role `view` in one: {}", bind(person, "view", "NAMESPACE")),
    };
    Trouble::new(StatusCode::FORBIDDEN, "Forbidden", text).remedy(remedy)
}

/// That somebody may look, but give no orders.
pub(crate) fn forbidden_to_order(person: &Person, name: &RolloutName) -> Trouble {
    let text = format!("{} may see {name}, but give it no orders", person.name);
    Trouble::new(StatusCode::FORBIDDEN, "Forbidden", text)
        .remedy(format!("ask for the role `edit` there: {}", bind(person, "edit", &name.namespace)))
}

fn bind(person: &Person, role: &str, namespace: &str) -> String {
    let account =
        person.name.strip_prefix("system:serviceaccount:").map(|of| format!("--serviceaccount={of}"));
    let subject = account.unwrap_or_else(|| format!("--user={}", person.name));
    format!("`kubectl create rolebinding penstock-{role} -n {namespace} --clusterrole={role} {subject}`")
}

/// Answers with their times.
struct Memory<K, V> {
    all: Mutex<BTreeMap<K, (V, Instant)>>,
}

impl<K, V> Default for Memory<K, V> {
    fn default() -> Memory<K, V> {
        Memory { all: Mutex::default() }
    }
}

impl<K: Ord, V: Clone> Memory<K, V> {
    fn get(&self, key: &K) -> Option<V> {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(key).filter(|(_, at)| at.elapsed() < REMEMBERED).map(|(value, _)| value.clone())
    }

    fn put(&self, key: K, value: V) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST {
            all.retain(|_, (_, at)| at.elapsed() < REMEMBERED);
        }
        // What does not fit is asked again.
        if all.len() < MOST {
            all.insert(key, (value, Instant::now()));
        }
    }
}
