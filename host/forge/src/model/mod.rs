//! Agents from a language model behind any OpenAI-compatible chat endpoint.
//!
//! What the model answers is taken for a suggestion: the spec becomes a manifest
//! only by the checks that every manifest passes, the code goes through the same
//! sandbox as anybody's.

mod answer;
mod client;
mod error;
mod prompt;
mod spec;

pub(crate) use answer::code;
pub use client::{Client, Config, Message};
pub use error::Error;
pub(crate) use prompt::{ask_code, ask_repair, ask_spec, spec_format};
pub(crate) use spec::manifest;
