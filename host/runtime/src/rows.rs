//! The rows of an invocation that are on their way to the store: the one that says how it ended comes
//! last.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::invocation::Invocation;

/// What is known of the rows of one invocation.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    state: Mutex<State>,
    written: Notify,
}

#[derive(Debug, Default)]
struct State {
    under_way: usize,
    closed: bool,
}

/// A row on its way. Dropped once it is written or will never be.
#[derive(Debug)]
pub(crate) struct UnderWay(Arc<Invocation>);

impl Invocation {
    /// The right to write a row that is not the last; `None` once the last one is due.
    pub(crate) fn begin_row(self: &Arc<Self>) -> Option<UnderWay> {
        let mut state = self.rows.state();
        if state.closed {
            return None;
        }
        state.under_way += 1;
        drop(state);
        Some(UnderWay(Arc::clone(self)))
    }

    /// Lets no further row begin, and waits for those that have. What is written then is the last.
    pub(crate) async fn close_rows(&self) {
        loop {
            // Made before the look: what ends in between wakes it.
            let written = self.rows.written.notified();
            {
                let mut state = self.rows.state();
                state.closed = true;
                if state.under_way == 0 {
                    return;
                }
            }
            written.await;
        }
    }
}

impl Rows {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let rows = &self.0.rows;
        rows.state().under_way -= 1;
        rows.written.notify_waiters();
    }
}
