//! The policy as operators meet it: set, kept, read again, refused, explained; and what it makes of an
//! agent's actions.

mod change;
mod desk;
mod explain;
mod first_use;
mod origins;
mod people;
