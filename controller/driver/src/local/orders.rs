//! Orders of people, as files that wait until they are followed.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use penstock_core::observation::{Order, OrderKind};
use penstock_core::time::Time;

use super::files::{self, Care, FileError};
use super::home::{Home, Key};
use super::watched::Watched;

/// Most orders of one Rollout that wait at a time.
pub const MOST: usize = 64;

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

/// Orders that wait, and what was wrong with the files that were none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Waiting {
    /// Oldest first, at most [`MOST`].
    pub orders: Vec<Order>,
    /// What was moved aside, and why.
    pub problems: Vec<String>,
}

/// Why an order was not taken.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// Nobody follows the orders that wait.
    #[error("{MOST} orders for {key} wait already: is `penstock local` running? Start it, or remove {}", folder.display())]
    Full {
        /// The Rollout.
        key: Key,
        /// Where they wait.
        folder: PathBuf,
    },
    /// Too much was said.
    #[error("the {what} is longer than {most} bytes: say it shorter")]
    TooLong {
        /// What was said.
        what: &'static str,
        /// How long it may be.
        most: usize,
    },
    /// The disk refuses.
    #[error(transparent)]
    File(#[from] FileError),
}

/// The orders of a folder.
#[derive(Clone, Debug)]
pub struct Orders {
    dir: PathBuf,
}

impl Orders {
    /// The orders of a folder.
    pub fn new(home: &Home) -> Orders {
        Orders { dir: home.orders() }
    }

    /// Gives an order, durably. Returns its id.
    ///
    /// Errors: [`OrderError::Full`] when [`MOST`] wait already.
    pub fn submit(&self, key: &Key, wish: Wish, now: Time) -> Result<String, OrderError> {
        let folder = self.folder(key);
        check("reason", &wish.reason, 4096)?;
        check("name of who orders", &wish.who, 256)?;
        files::make_dir(&folder)?;
        if files::list(&folder, MOST)?.len() >= MOST {
            return Err(OrderError::Full { key: key.clone(), folder });
        }
        let id = format!("{:013}-{:08x}", now.0, fastrand::u32(..));
        let order = Order { id: id.clone(), kind: wish.kind, who: wish.who, reason: wish.reason, at: now };
        let path = folder.join(format!("{id}.json"));
        let bytes = serde_json::to_vec(&order).map_err(|e| FileError::new("write", &path, e.into()))?;
        files::write(&path, &bytes, Care::Durable)?;
        Ok(id)
    }

    /// The orders that wait for a Rollout. Files that are no orders are moved aside.
    pub fn waiting(&self, key: &Key) -> Result<Waiting, FileError> {
        let mut waiting = Waiting::default();
        for path in files::list(&self.folder(key), MOST)? {
            match read(&path) {
                Ok(Some(order)) => waiting.orders.push(order),
                Ok(None) => {}
                Err(why) => waiting.problems.push(put_aside(&path, &why)),
            }
        }
        waiting.orders.sort_by(|a, b| (a.at, &a.id).cmp(&(b.at, &b.id)));
        Ok(waiting)
    }

    /// Takes an order away that was followed and recorded. Doing it twice is doing it once.
    pub fn clear(&self, key: &Key, id: &str) -> Result<(), FileError> {
        let path = self.folder(key).join(format!("{id}.json"));
        let ours = path.file_stem().is_some_and(|stem| stem == id);
        if ours && path.parent() == Some(&self.folder(key)) {
            files::remove(&path)?;
        }
        Ok(())
    }

    /// Forgets a Rollout that is gone, with the orders that wait for it.
    pub fn forget(&self, key: &Key) -> Result<(), FileError> {
        let folder = self.folder(key);
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(FileError::new("remove", &folder, error))
            }
            _ => Ok(()),
        }
    }

    /// Says when orders may have come, half a second after the fact at most.
    pub fn watch(&self) -> Watched {
        Watched::new(&self.dir, true, Duration::from_millis(500))
    }

    /// The folder of the orders of a Rollout.
    pub fn folder(&self, key: &Key) -> PathBuf {
        self.dir.join(key.stem())
    }
}

fn check(what: &'static str, text: &str, most: usize) -> Result<(), OrderError> {
    if text.len() > most { Err(OrderError::TooLong { what, most }) } else { Ok(()) }
}

/// The order in a file. Its id is the file's name: nobody can take away another order by claiming its id.
fn read(path: &Path) -> Result<Option<Order>, String> {
    let Some(bytes) = files::read(path).map_err(|error| error.to_string())? else { return Ok(None) };
    let order: Order = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    let name = path.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_suffix(".json"));
    if name == Some(order.id.as_str()) { Ok(Some(order)) } else { Err(format!("its id is `{}`", order.id)) }
}

/// One file is kept for a look; the next one takes its place, so that rubbish cannot pile up.
fn put_aside(path: &Path, why: &str) -> String {
    let aside = path.with_file_name(".not-an-order");
    let _ = fs::remove_file(&aside).or_else(|_| fs::remove_dir_all(&aside));
    let moved = fs::rename(path, &aside);
    let done =
        if moved.is_ok() { format!("it was moved to {}", aside.display()) } else { "remove it".to_owned() };
    format!("{} is no order ({why}); {done}; give orders with `penstock abort`, `promote`, …", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orders() -> (tempfile::TempDir, Orders, Key) {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(dir.path()).unwrap();
        (dir, Orders::new(&home), Key::new("shop", "checkout").unwrap())
    }

    fn wish(kind: OrderKind) -> Wish {
        Wish { kind, who: "ada".into(), reason: "p99 looks wrong".into() }
    }

    #[test]
    fn orders_wait_oldest_first_until_they_are_cleared() {
        let (_dir, orders, key) = orders();
        let second = orders.submit(&key, wish(OrderKind::Resume), Time(2_000)).unwrap();
        let first = orders.submit(&key, wish(OrderKind::Abort), Time(1_000)).unwrap();
        let waiting = orders.waiting(&key).unwrap();
        assert_eq!(waiting.orders.iter().map(|o| &o.id).collect::<Vec<_>>(), [&first, &second]);
        orders.clear(&key, &first).unwrap();
        orders.clear(&key, &first).unwrap();
        assert_eq!(orders.waiting(&key).unwrap().orders.len(), 1);
    }

    #[test]
    fn what_is_no_order_is_moved_aside_and_named() {
        let (_dir, orders, key) = orders();
        orders.submit(&key, wish(OrderKind::Pause), Time(5)).unwrap();
        fs::write(orders.folder(&key).join("0.json"), b"{\"kind\": \"abrot\"").unwrap();
        fs::create_dir(orders.folder(&key).join("folder")).unwrap();
        let waiting = orders.waiting(&key).unwrap();
        assert_eq!((waiting.orders.len(), waiting.problems.len()), (1, 2));
        assert!(waiting.problems[0].contains("0.json is no order"), "{:?}", waiting.problems);
        assert!(orders.waiting(&key).unwrap().problems.is_empty());
    }

    #[test]
    fn an_id_cannot_lead_to_another_folder() {
        let (dir, orders, key) = orders();
        let victim = dir.path().join("victim.json");
        fs::write(&victim, b"").unwrap();
        for id in ["../../../victim", victim.with_extension("").to_str().unwrap()] {
            orders.clear(&key, id).unwrap();
        }
        assert!(victim.exists());
    }

    #[test]
    fn orders_that_nobody_follows_do_not_pile_up() {
        let (_dir, orders, key) = orders();
        for at in 0..MOST as u64 {
            orders.submit(&key, wish(OrderKind::Pause), Time(at)).unwrap();
        }
        let full = orders.submit(&key, wish(OrderKind::Pause), Time(99)).unwrap_err();
        assert!(full.to_string().contains("is `penstock local` running"), "{full}");
    }
}
