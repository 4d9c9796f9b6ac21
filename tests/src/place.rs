//! A place with Rollouts that a test makes up, for what only the page does: tokens, rights, and what is told of whom.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use penstock_core::time::Time;
use penstock_driver::history::Histories;
use penstock_driver::view::{OrderError, Person, Right, Stranger, View, Wish};
use penstock_signals::RolloutName;
use penstock_web::{Hosts, Page, serve};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A place that a test makes up.
pub struct Place {
    all: Mutex<BTreeMap<RolloutName, (u64, Value)>>,
    people: Mutex<BTreeMap<String, (Person, Vec<String>)>>,
    /// What was ordered.
    pub orders: Mutex<Vec<(RolloutName, Wish)>>,
    /// How often somebody was asked about.
    pub asked: Mutex<u64>,
    histories: Arc<Histories>,
    changes: watch::Sender<u64>,
}

impl Default for Place {
    fn default() -> Place {
        Place {
            all: Mutex::default(),
            people: Mutex::default(),
            orders: Mutex::default(),
            asked: Mutex::default(),
            histories: Arc::new(Histories::new(Time(0))),
            changes: watch::channel(0).0,
        }
    }
}

/// A page that serves such a place, until it is dropped.
pub struct Served {
    /// The place.
    pub place: Arc<Place>,
    /// `host:port`.
    pub address: String,
    task: JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Place {
    /// Lets somebody in by a token. `rights`: namespaces that he may see, `*` for all of them, `edit/NAMESPACE` for orders.
    pub fn knows(&self, token: &str, name: &str, rights: &[&str]) {
        let person = Person { name: name.to_owned(), ..Person::default() };
        let rights = rights.iter().map(|right| (*right).to_owned()).collect();
        self.people().insert(token.to_owned(), (person, rights));
    }

    /// Forgets a token.
    pub fn forgets(&self, token: &str) {
        self.people().remove(token);
    }

    /// Puts a Rollout there.
    pub fn put(&self, namespace: &str, name: &str, object: Value) {
        self.changes.send_modify(|n| *n += 1);
        let version = *self.changes.borrow();
        self.all().insert(named(namespace, name), (version, object));
        self.changes.send_modify(|n| *n += 1);
    }

    /// Serves it on a free port of this machine.
    pub async fn serve(self, hosts: Hosts, tokens: bool) -> std::io::Result<Served> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let place = Arc::new(self);
        let page = Page { view: Arc::clone(&place) as Arc<dyn View>, hosts, tokens };
        Ok(Served { place, address, task: tokio::spawn(serve(listener, page)) })
    }

    fn all(&self) -> std::sync::MutexGuard<'_, BTreeMap<RolloutName, (u64, Value)>> {
        self.all.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn people(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, (Person, Vec<String>)>> {
        self.people.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn named(namespace: &str, name: &str) -> RolloutName {
    RolloutName { namespace: namespace.to_owned(), name: name.to_owned() }
}

fn count(of: &Mutex<u64>) {
    *of.lock().unwrap_or_else(std::sync::PoisonError::into_inner) += 1;
}

impl View for Place {
    fn place(&self) -> String {
        "a place of tests".to_owned()
    }

    fn is_ready(&self) -> bool {
        true
    }

    fn list(&self) -> Vec<(RolloutName, String)> {
        self.all().iter().map(|(name, (version, _))| (name.clone(), version.to_string())).collect()
    }

    fn get(&self, name: &RolloutName) -> Option<Value> {
        self.all().get(name).map(|(_, object)| object.clone())
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn histories(&self) -> &Arc<Histories> {
        &self.histories
    }

    fn order<'a>(
        &'a self,
        name: &'a RolloutName,
        wish: Wish,
    ) -> BoxFuture<'a, Result<Option<String>, OrderError>> {
        self.orders.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((name.clone(), wish));
        ready(Ok(None)).boxed()
    }

    fn admit<'a>(&'a self, token: Option<&'a str>) -> BoxFuture<'a, Result<Person, Stranger>> {
        count(&self.asked);
        let known = token.and_then(|token| self.people().get(token).map(|(person, _)| person.clone()));
        let nobody = if token.is_some() { Stranger::Unknown } else { Stranger::Unnamed };
        ready(known.ok_or(nobody)).boxed()
    }

    fn may<'a>(&'a self, person: &'a Person, right: Right<'a>) -> BoxFuture<'a, Result<bool, Stranger>> {
        count(&self.asked);
        let people = self.people();
        let rights = people.values().find(|(known, _)| known == person).map(|(_, rights)| rights.clone());
        let rights = rights.unwrap_or_default();
        let has = |wanted: &str| rights.iter().any(|right| right == wanted || right == "*");
        ready(Ok(match right {
            Right::See(None) => has("*"),
            Right::See(Some(namespace)) => has(namespace),
            Right::Order(name) => rights.contains(&format!("edit/{}", name.namespace)),
        }))
        .boxed()
    }
}
