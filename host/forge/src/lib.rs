#![doc = "Words in, component out: spec, source, build, proof."]

mod assets;
pub mod build;
pub mod template;
pub mod toolchain;
