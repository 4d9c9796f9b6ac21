//! Writes the CustomResourceDefinition beside this crate: `cargo run -p penstock-crds --bin crdgen`.

use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("penstock.dev_rollouts.yaml");
    std::fs::write(file, serde_saphyr::to_string(&penstock_crds::crd()?)?)?;
    Ok(())
}
