//! A folder for who looks at it and gives orders. Nobody is asked who they are: whoever reaches this machine's own
//! addresses is its user.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use penstock_signals::RolloutName;
use serde_json::Value;
use tokio::sync::watch;

use super::home::Key;
use super::orders;
use super::world::Site;
use crate::clock::now;
use crate::history::{Histories, Recorded};
use crate::view::{OrderError, Person, Right, Stranger, View, Wish};

/// A folder that is run.
pub struct LocalView {
    site: Arc<Site>,
}

impl LocalView {
    pub(super) fn new(site: Arc<Site>) -> LocalView {
        LocalView { site }
    }
}

impl View for LocalView {
    fn place(&self) -> String {
        let dir = self.site.home.dir();
        format!("folder {}", dir.file_name().unwrap_or(dir.as_os_str()).display())
    }

    fn is_ready(&self) -> bool {
        true
    }

    fn list(&self) -> Vec<(RolloutName, String)> {
        let name =
            |key: Key| RolloutName { namespace: key.namespace().to_owned(), name: key.name().to_owned() };
        self.site.shelf.list().into_iter().map(|(key, version)| (name(key), version.to_string())).collect()
    }

    fn get(&self, name: &RolloutName) -> Option<Value> {
        let key = Key::new(&name.namespace, &name.name).ok()?;
        self.site.shelf.get(&key).map(|object| Value::clone(&object))
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.site.shelf.changes()
    }

    fn histories(&self) -> &Arc<Histories> {
        &self.site.histories
    }

    fn order<'a>(
        &'a self,
        name: &'a RolloutName,
        wish: Wish,
    ) -> BoxFuture<'a, Result<Option<String>, OrderError>> {
        ready(submit(&self.site, name, wish)).boxed()
    }

    fn admit<'a>(&'a self, _: Option<&'a str>) -> BoxFuture<'a, Result<Person, Stranger>> {
        let name = std::env::var("USER").ok().filter(|name| !name.is_empty());
        let name = name.unwrap_or_else(|| "somebody".to_owned());
        ready(Ok(Person { name, ..Person::default() })).boxed()
    }

    fn may<'a>(&'a self, _: &'a Person, _: Right<'a>) -> BoxFuture<'a, Result<bool, Stranger>> {
        ready(Ok(true)).boxed()
    }
}

impl Recorded for LocalView {
    fn proxies(&self, _: &str) -> Vec<String> {
        vec![self.site.admin.clone()]
    }
}

fn submit(site: &Site, name: &RolloutName, wish: Wish) -> Result<Option<String>, OrderError> {
    let key = Key::new(&name.namespace, &name.name).map_err(|e| OrderError::Refused(e.to_string()))?;
    if site.shelf.get(&key).is_none() {
        return Err(OrderError::Missing(name.clone()));
    }
    let Wish { kind, who, reason } = wish;
    let id = site.orders.submit(&key, orders::Wish { kind, who, reason }, now());
    id.map(Some).map_err(|error| match error {
        orders::OrderError::Full { .. } | orders::OrderError::TooLong { .. } => {
            OrderError::Refused(error.to_string())
        }
        orders::OrderError::File(error) => OrderError::Unwritten(error.to_string()),
    })
}
