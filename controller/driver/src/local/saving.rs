//! A state on its way to the disk, which may take its time.

use std::time::Duration;

use penstock_crds::RolloutStatus;
use serde_json::Value;
use tokio::task::JoinHandle;

use super::home::Key;
use super::store::{StoreError, Version};
use crate::ports::SaveError;

/// A disk that takes longer than this holds up what needs a saved state, and nothing else: no abort.
const PATIENCE: Duration = Duration::from_millis(250);

/// What is saved: the status, and the object as it was written.
pub(super) type Content = (RolloutStatus, Value);

/// A save under way.
pub(super) struct Saving {
    task: JoinHandle<Result<Version, StoreError>>,
    content: Content,
}

impl Saving {
    /// Begins to save.
    pub(super) fn begin(
        content: Content,
        save: impl FnOnce() -> Result<Version, StoreError> + Send + 'static,
    ) -> Saving {
        Saving { task: tokio::task::spawn_blocking(save), content }
    }
}

/// What the save under way has come to; `None`: none is. Errors: it failed, or takes long; then it goes on, and the
/// next call waits on.
pub(super) async fn finish(
    under_way: &mut Option<Saving>,
    key: &Key,
) -> Result<Option<(Version, Content)>, SaveError> {
    let what = key.to_string();
    let refuse = |why: String| SaveError::Refused { what: what.clone(), why };
    let Some(mut saving) = under_way.take() else { return Ok(None) };
    let Ok(done) = tokio::time::timeout(PATIENCE, &mut saving.task).await else {
        *under_way = Some(saving);
        let problem = format!("{}.json is not written after {PATIENCE:?}", key.stem());
        return Err(refuse(format!("{problem}: its disk is busy or the file is locked; it is waited for")));
    };
    match done.map_err(|error| refuse(error.to_string()))? {
        Ok(version) => Ok(Some((version, saving.content))),
        Err(StoreError::Conflict { .. }) => Err(SaveError::Conflict { what }),
        Err(error @ (StoreError::Damaged { .. } | StoreError::NoObject(_) | StoreError::File(_))) => {
            Err(refuse(error.to_string()))
        }
    }
}
