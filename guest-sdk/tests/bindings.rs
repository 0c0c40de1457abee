//! The checked-in bindings are those that `wit/` gives. With `NEXUS_UPDATE=1` in the environment they are written anew.

use std::path::Path;

use wit_bindgen_core::Files;
use wit_bindgen_core::WorldGenerator;
use wit_bindgen_core::wit_parser::Resolve;
use wit_bindgen_rust::{Opts, WithOption};

type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// The world of every agent.
fn agent(wit: &Path) -> Result<String> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(wit)?;
    let world = resolve.select_world(&[package], Some("agent"))?;
    let options = Opts {
        generate_all: true,
        pub_export_macro: true,
        default_bindings_module: Some("nexus_agent::bindings".to_owned()),
        ..Opts::default()
    };
    generate(&mut resolve, world, options)
}

/// What `trusted-agent` has more, over the types of the other.
fn reveal(wit: &Path) -> Result<String> {
    let mut resolve = Resolve::default();
    resolve.push_dir(wit)?;
    let more = "package nexus:sdk; world reveal { import nexus:agent/vault-reveal@0.1.0; }";
    let package = resolve.push_str("reveal.wit", more)?;
    let world = resolve.select_world(&[package], Some("reveal"))?;
    let known = |interface: &str| {
        let path = format!("crate::bindings::nexus::agent::{interface}");
        (
            format!("nexus:agent/{interface}@0.1.0"),
            WithOption::Path(path),
        )
    };
    let options = Opts {
        with: vec![
            known("types"),
            known("vault"),
            (
                "nexus:agent/vault-reveal@0.1.0".to_owned(),
                WithOption::Generate,
            ),
        ],
        ..Opts::default()
    };
    generate(&mut resolve, world, options)
}

fn generate(
    resolve: &mut Resolve,
    world: wit_bindgen_core::wit_parser::WorldId,
    options: Opts,
) -> Result<String> {
    let mut files = Files::default();
    let options = Opts {
        format: true,
        ..options
    };
    options.build().generate(resolve, world, &mut files)?;
    let (_, source) = files.iter().next().ok_or("no file was generated")?;
    Ok(String::from_utf8(source.to_vec())?)
}

#[test]
fn bindings_match_the_wit() -> Result {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let wit = root.join("../wit");
    for (file, generated) in [
        ("src/bindings.rs", agent(&wit)?),
        ("src/bindings_reveal.rs", reveal(&wit)?),
    ] {
        let path = root.join(file);
        if std::env::var_os("NEXUS_UPDATE").is_some() {
            std::fs::write(&path, &generated)?;
        }
        let checked_in = std::fs::read_to_string(&path)?;
        assert!(
            generated == checked_in,
            "{file} differs from what wit/ gives: run `NEXUS_UPDATE=1 cargo test -p nexus-agent --test bindings`"
        );
    }
    Ok(())
}
