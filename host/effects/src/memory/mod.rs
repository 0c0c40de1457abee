//! Memory spaces: durable key-value data that agents share.
//!
//! A write, its audit record and the use of its approval are one commit of the store. Every space
//! has one counter of revisions; it grows with every value written and outlives deletions, so that a
//! revision names one value for ever. Values and their labels are sealed by the vault; the names of
//! spaces and keys, by which entries are found, are not.

mod call;
mod operator;
mod row;
mod space;
mod upgrade;

pub use call::{Call, Key, MAX_KEY, MAX_SCAN, MAX_VALUE, Range};
pub use space::{Compared, Entry, MAX_PAGE_BYTES, Memory, Page};
pub use upgrade::UpgradeError;
