//! Config files: whatever stands in them, they are read to the end, and the same way each time.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

/// Where the files are; in memory where the system has such a place.
fn folder() -> &'static TempDir {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    FOLDER
        .get_or_init(|| tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder"))
}

fuzz_target!(|bytes: &[u8]| {
    let path = folder().path();
    let end = bytes.windows(4).position(|w| w == b"%%%\n");
    let (first, second) = end.map_or((bytes, &[][..]), |end| (&bytes[..end], &bytes[end + 4..]));
    std::fs::write(path.join("a.yaml"), first).expect("a file");
    std::fs::write(path.join("b.json"), second).expect("a file");
    let (once, again) = (penstock_proxy::check(path), penstock_proxy::check(path));
    assert_eq!(once.expect("a folder that can be read"), again.expect("the same"));
});
