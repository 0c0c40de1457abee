#![doc = "Words in, agent out: spec, review, source, build, proof, publication."]
//!
//! A [`Forge`] turns a [`Request`] into a stream of [`Event`]s, one or more per
//! [`Stage`]; the last tells how it ended. The source comes from a template, from
//! the caller or from a language model ([`Mode`]); whoever wrote it, it is taken
//! for hostile, compiled by a confined compiler ([`build`]) against libraries
//! prepared beforehand ([`toolchain`]), proved against its manifest by the
//! runtime, and published through the gate.
//!
//! The binary carries all that forging takes but the compiler: the SDK, the
//! crates it needs, and the templates, which are components already: an agent from
//! one takes milliseconds and no compiler.

mod assets;
mod budget;
pub mod build;
mod event;
mod failure;
mod forge;
pub mod model;
mod pipeline;
mod prebuilt;
mod publish;
mod records;
mod request;
mod review;
mod selftest;
mod shadow;
mod stages;
mod stop;
pub mod template;
pub mod toolchain;
mod trigger;

pub use budget::{BUDGETS, Budget, OverBudget};
pub use build::{BuiltBy, Diagnostic};
pub use event::{Detail, Event, NotPublished, Stage, StageState};
pub use failure::{Failure, Reason};
pub use forge::{CheckError, Events, Forge, OpenError, Options, Started};
pub use model::Config as ModelConfig;
pub use records::{
    FORGE, FORGED, ForgeId, Forged, ForgedState, HotReload, LINEAGE, Lineage, RecordError,
};
pub use request::{Mode, Request};
pub use review::{Review, ReviewEnd};
pub use selftest::{Example, Tested};
pub use shadow::Shadowed;
pub use stop::Stop;
pub use template::{InputParameter, InputType, NeedsParameters};
