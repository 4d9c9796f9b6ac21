//! HTTPRoutes and Services as files that the proxy reads.

use std::path::{Path, PathBuf};

use penstock_core::observation::Route;
use penstock_core::split::Split;
use penstock_routers::gateway::{self, Shape};
use penstock_routers::service::{Apex, apex};
use serde_json::Value;

use super::files::{self, Care, FileError};
use super::home::{Home, Key};

/// The split that stands in a Rollout's HTTPRoute. What else stands there is put right at once, for that changes no
/// weight.
pub(super) fn look(home: &Home, key: &Key, shape: &Shape) -> Route {
    let path = route(home, key);
    let (value, split) = match read(&path) {
        Ok(Some(found)) => found,
        Ok(None) => return Route::Absent,
        Err(why) => {
            tracing::warn!(rollout = %key, "{}: {why}; it is written anew", path.display());
            return Route::Unknown;
        }
    };
    if !split.weights.is_empty() && !gateway::stands(&value, &split, shape) {
        let put_right = write(home, key, &split, shape);
        let _ = put_right.inspect_err(|error| tracing::warn!(rollout = %key, %error, "HTTPRoute"));
    }
    Route::Found(split)
}

/// Writes a split into a Rollout's HTTPRoute, unless a newer one stands there. An object that can't be understood is
/// written anew.
pub(super) fn write(home: &Home, key: &Key, split: &Split, shape: &Shape) -> Result<(), FileError> {
    let path = route(home, key);
    let object = match read(&path) {
        Ok(Some((_, there))) if there.generation > split.generation => return Ok(()),
        Ok(Some((mut object, _))) => {
            gateway::write(&mut object, split, shape);
            object
        }
        Ok(None) | Err(_) => gateway::new(split, shape),
    };
    replace(&path, &object)
}

/// Makes the Service known that clients call, with the port on which it is served.
pub(super) fn serve(home: &Home, key: &Key, service: &Apex) -> Result<(), FileError> {
    replace(&home.proxy().join(format!("{}.service.json", key.stem())), &apex(service))
}

/// Takes both away.
pub(super) fn remove(home: &Home, key: &Key) -> Result<(), FileError> {
    files::remove(&route(home, key))?;
    files::remove(&home.proxy().join(format!("{}.service.json", key.stem()))).map(drop)
}

fn route(home: &Home, key: &Key) -> PathBuf {
    home.proxy().join(format!("{}.httproute.json", key.stem()))
}

fn read(path: &Path) -> Result<Option<(Value, Split)>, String> {
    let Some(bytes) = files::read(path).map_err(|error| error.to_string())? else { return Ok(None) };
    let value: Value = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    let split = gateway::read(&value).map_err(|error| error.to_string())?;
    Ok(Some((value, split)))
}

/// A file that says the same already is left as it is: whoever watches it is not woken.
fn replace(path: &Path, object: &Value) -> Result<(), FileError> {
    let bytes = serde_json::to_vec_pretty(object).map_err(|e| FileError::new("write", path, e.into()))?;
    if files::read(path).is_ok_and(|there| there.as_deref() == Some(&bytes[..])) {
        return Ok(());
    }
    files::write(path, &bytes, Care::Quick)
}
