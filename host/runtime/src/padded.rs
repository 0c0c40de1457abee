//! Values that many threads write, kept apart from those that all of them read.

use std::ops::Deref;

/// A value with cache lines of its own: writing it does not take what lies
/// beside it away from the other cores. Two lines, since they are fetched in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Padded<T>(pub(crate) T);

impl<T> Deref for Padded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
