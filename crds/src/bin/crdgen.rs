//! Writes the CustomResourceDefinition beside this crate, and docs/api.md: `cargo run -p penstock-crds --bin crdgen`.

use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::fs::write(
        here.join("penstock.dev_rollouts.yaml"),
        serde_saphyr::to_string(&penstock_crds::crd()?)?,
    )?;
    std::fs::write(here.join("../docs/api.md"), penstock_crds::reference()?)?;
    Ok(())
}
