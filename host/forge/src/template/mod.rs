//! Agents from a template and its parameters: no model, no network, and nothing
//! from outside ever becomes code.

mod catalog;
mod error;
mod example;
mod fill;
mod rank;
mod value;

pub use catalog::{Catalog, Parameter, Template};
pub use error::{Error, Missing, NeedsParameters};
pub use fill::{InputParameter, InputType, Rendered};
