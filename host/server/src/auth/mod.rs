//! Who calls, and what they may call.
//!
//! Every method but health and reflection needs a bearer token. A token has one role, and the
//! matrix in [`role`] says which roles may call which method; a method that is missing there is
//! refused to everyone.

mod layer;
mod role;
#[cfg(test)]
mod tests;
mod token;

pub(crate) use layer::AuthLayer;
pub use role::{MATRIX, Role, UnknownRole, roles_of};
pub use token::{Caller, NewToken, TokenError, TokenInfo, Tokens};
pub(crate) use token::{token_id, write_private};
