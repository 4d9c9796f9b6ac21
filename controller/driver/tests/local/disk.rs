//! Disks that are full, and files that may not grow.

use std::process::Command;

use penstock_driver::local::store::{Store, Version};
use penstock_driver::local::{Home, Key};
use serde_json::{Value, json};

use crate::program::{ACT, command};

fn object(size: usize) -> Value {
    json!({"metadata": {"name": "checkout"}, "status": {"story": "x".repeat(size)}})
}

fn key() -> Key {
    Key::new("shop", "checkout").unwrap()
}

/// What the word `save` does: saves a large object, and says what became of it.
pub(crate) fn save(dir: &std::path::Path) {
    let store = Store::new(&Home::at(dir).unwrap());
    let before = store.load(&key()).unwrap().unwrap();
    let refused = store.save(&key(), object(1_000_000), before.version).unwrap_err();
    println!("\nrefused: {refused}");
    let after = store.load(&key()).unwrap().unwrap();
    assert_eq!((after.object, after.warning), (before.object, None));
    println!("intact");
}

fn saved_by(command: &mut Command) -> String {
    let output = command.output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_file_that_may_not_grow_leaves_the_old_version_and_names_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::open(dir.path()).unwrap();
    Store::new(&home).save(&key(), object(10), Version(0)).unwrap();
    // SIGXFSZ would end the program before it can say anything.
    let script = format!("trap '' XFSZ; ulimit -f 64; exec {}", command().join(" "));
    let said =
        saved_by(Command::new("sh").args(["-c", &script]).env(ACT, format!("save={}", dir.path().display())));
    assert!(
        said.contains("shop.checkout.json: the limit on file sizes") && said.contains("intact"),
        "{said}"
    );
}

#[test]
fn a_full_disk_leaves_the_old_version_and_names_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    // A mount namespace of its own: nothing is left mounted, whatever happens.
    let script = format!(
        "mount -t tmpfs -o size=256k none {dir} || exit 77; mkdir -p {dir}/.penstock/state; echo '{}' > {dir}/.penstock/state/shop.checkout.json; exec {}",
        json!({"metadata": {"resourceVersion": "1"}}),
        command().join(" "),
        dir = dir.path().display(),
    );
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "sh", "-c", &script]).env(ACT, format!("save={}", dir.path().display()));
    let Ok(output) = unshare.output() else { return eprintln!("not tried: there is no unshare") };
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() && !said.contains("act") {
        return eprintln!("not tried: no file system can be mounted here");
    }
    assert!(said.contains("its disk is full") && said.contains("intact"), "{said} {output:?}");
}
