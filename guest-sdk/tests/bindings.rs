//! The checked-in bindings are those that `wit/` gives. With `NEXUS_UPDATE=1` in the environment they are written anew.

use std::path::Path;

use wit_bindgen_core::Files;
use wit_bindgen_core::WorldGenerator;
use wit_bindgen_core::wit_parser::Resolve;

fn generate(wit: &Path) -> Result<String, Box<dyn std::error::Error>> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(wit)?;
    let world = resolve.select_world(&[package], Some("agent"))?;
    let mut files = Files::default();
    wit_bindgen_rust::Opts {
        format: true,
        generate_all: true,
        pub_export_macro: true,
        default_bindings_module: Some("nexus_agent::bindings".to_owned()),
        ..Default::default()
    }
    .build()
    .generate(&mut resolve, world, &mut files)?;
    let (_, source) = files.iter().next().ok_or("no file was generated")?;
    Ok(String::from_utf8(source.to_vec())?)
}

#[test]
fn bindings_match_the_wit() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let generated = generate(&root.join("../wit"))?;
    let path = root.join("src/bindings.rs");
    if std::env::var_os("NEXUS_UPDATE").is_some() {
        std::fs::write(&path, &generated)?;
    }
    let checked_in = std::fs::read_to_string(&path)?;
    assert!(
        generated == checked_in,
        "src/bindings.rs differs from what wit/ gives: run `NEXUS_UPDATE=1 cargo test -p nexus-agent --test bindings`"
    );
    Ok(())
}
