//! Compiles `nexus/v1/*.proto` without protoc.

use std::{env, error::Error, fs, path::PathBuf};

use protox::Compiler;

/// Messages that hold a secret: their `Debug` is written by hand in `src/redacted.rs`.
const SECRET: [&str; 2] = [
    ".nexus.v1.SetSecretRequest",
    ".nexus.v1.CreateTokenResponse",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=nexus");
    println!("cargo::rerun-if-changed=google");

    let mut protos: Vec<PathBuf> = fs::read_dir("nexus/v1")?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    protos.sort();

    let mut compiler = Compiler::new(["."])?;
    compiler
        .include_imports(true)
        .include_source_info(true)
        .open_files(&protos)?;

    // These bytes keep the options that prost's own types do not know, such as `google.api.http`.
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(
        out.join("descriptor_set.bin"),
        compiler.encode_file_descriptor_set(),
    )?;

    // `google.api` holds options only, which need no code.
    let mut files = compiler.file_descriptor_set();
    files.file.retain(|file| file.package() != "google.api");
    tonic_prost_build::configure()
        .skip_debug(SECRET)
        .compile_fds(files)?;
    Ok(())
}
