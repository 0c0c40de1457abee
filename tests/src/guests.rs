//! The guests of `tests/agents`, built once for each test process.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The workspace.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The component of a guest, such as `echo` or `size_250k`.
///
/// # Panics
/// If the guests do not build, with the compiler's words.
pub fn component(name: &str) -> Vec<u8> {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    let directory = DIRECTORY.get_or_init(|| {
        let agents = root().join("tests/agents");
        let built = Command::new(env!("CARGO"))
            .args([
                "build",
                "--release",
                "--locked",
                "--target",
                "wasm32-wasip2",
            ])
            // What was set for the tests' own build is not meant for guests.
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_TARGET_DIR")
            .current_dir(&agents)
            .output()
            .expect("cargo starts");
        let words = String::from_utf8_lossy(&built.stderr);
        assert!(
            built.status.success(),
            "the guests do not build; `make wasm` installs their target\n{words}"
        );
        agents.join("target/wasm32-wasip2/release")
    });
    let file = directory.join(format!("{name}.wasm"));
    std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The component of a guest with another manifest.
pub fn with_manifest(name: &str, manifest: &str) -> Vec<u8> {
    crate::component::with_manifest(&component(name), manifest)
}
