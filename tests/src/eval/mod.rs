//! Requests of the kind that users write, forged by a model and tried out: `tests/forge-eval`.
//!
//! Each case is a directory: the words, what the world answers and what has to come of it
//! (`case.json`), and what a good model has answered to the forge's own prompts (`spec.json`,
//! `code.rs`; `first.rs` is a first answer that has to be mended). The agents are really forged, by
//! the real binary, and really run: against an origin on loopback that answers what the case says.

mod case;
mod report;
mod run;
mod stage;
mod world;

pub use case::{Case, cases};
pub use report::{Report, json, table};
pub use run::run;
pub use stage::{Endpoint, Stage};
