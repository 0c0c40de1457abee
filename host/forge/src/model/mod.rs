//! Agents from a language model behind any OpenAI-compatible chat endpoint.
//!
//! What the model answers is taken for a suggestion: the spec becomes a manifest
//! only by the checks that every manifest passes, the code goes through the same
//! sandbox as anybody's. What an endpoint does, and what it costs, is bounded:
//! every way in which it can fail ends in an [`Error`] before the bounds of the
//! forge are passed.

mod answer;
mod client;
mod config;
mod error;
mod probe;
mod prompt;
mod schema;
mod spec;
mod spend;
mod stream;
mod takes;

pub(crate) use answer::code;
pub use client::{Client, Message, Models, Said};
pub use config::{Bound, Bounds, Config, Key, Price, Profile};
pub use error::{Error, hint};
pub use probe::{Probe, probe};
pub(crate) use prompt::{ask_code, ask_repair, ask_spec, ask_spec_again, spec_format};
pub(crate) use spec::{declares, manifest};
pub use spend::{Spend, Used};
pub(crate) use takes::Format;
