//! Compares an object as it stands with one as it is wanted.

use serde::Serialize;
use serde_json::Value;

/// Fields that are one value as a whole: one entry more in them means something else.
const WHOLE: [&str; 4] = ["selector", "labelSelector", "rules", "matchLabelKeys"];

/// Whether an object as it stands says all that is wanted of it. What an API server or a person added beside it does
/// not count, with the exception of selectors and the rules of a Role, which have to be the same.
///
/// Items of a list that are objects may stand in any order and among others; other lists have to be the same.
/// Quantities (`0.5`, `500m`) are compared as text: write them as an API server does.
pub fn says<T: Serialize>(live: &T, wanted: &T) -> bool {
    match (serde_json::to_value(live), serde_json::to_value(wanted)) {
        (Ok(live), Ok(wanted)) => covers(&live, &wanted),
        (Ok(_) | Err(_), _) => false,
    }
}

fn covers(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => wanted.iter().all(|(name, wanted)| {
            let live = live.get(name).unwrap_or(&Value::Null);
            if WHOLE.contains(&name.as_str()) { live == wanted } else { covers(live, wanted) }
        }),
        (Value::Array(live), Value::Array(wanted)) if wanted.iter().all(Value::is_object) => {
            wanted.iter().all(|wanted| live.iter().any(|live| covers(live, wanted)))
        }
        // An API server leaves out what is empty.
        (Value::Null, Value::Object(wanted)) => wanted.is_empty(),
        (Value::Null, Value::Array(wanted)) => wanted.is_empty(),
        (live, wanted) => live == wanted,
    }
}
