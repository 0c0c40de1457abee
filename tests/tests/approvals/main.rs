//! A person between an agent and the world: what they are shown, what their word does, and what
//! happens to a question that nobody answers any more.

mod decisions;
mod questions;
mod verdicts;
