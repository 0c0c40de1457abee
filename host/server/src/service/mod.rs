//! The gRPC services, one file each. They translate: every decision is made further in.

pub(crate) mod agents;
pub(crate) mod approvals;
pub(crate) mod audit;
pub(crate) mod build;
mod decision;
pub(crate) mod forge;
pub(crate) mod invocations;
pub(crate) mod memory;
pub(crate) mod policy;
pub(crate) mod system;
pub(crate) mod vault;

use std::pin::Pin;

use futures::Stream;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tonic::{Code, Request, Status};

use crate::auth::Caller;
use crate::fault::Fault;
use crate::host::Host;

/// A server stream.
pub(crate) type Events<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Who sent this request. The auth layer has put it there.
pub(crate) fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    request
        .extensions()
        .get::<Caller>()
        .cloned()
        .ok_or_else(|| Fault::unauthenticated("send `authorization: Bearer TOKEN`").into())
}

/// Refuses what makes agents while the emergency lock is engaged.
pub(crate) fn unlocked(host: &Host) -> Result<(), Status> {
    let lock = host.services.gate.lock();
    lock.check().map_err(|locked| Fault::locked(&locked).into())
}

/// What is there first, then every change that `pick` wants.
///
/// A watcher that falls behind is told so and ends: it has to read the state anew, because what it
/// missed is not to be had.
pub(crate) fn follow<C, T>(
    first: Vec<T>,
    changes: broadcast::Receiver<C>,
    mut pick: impl FnMut(C) -> Option<T> + Send + 'static,
) -> Events<T>
where
    C: Clone + Send + 'static,
    T: Send + 'static,
{
    let first = futures::stream::iter(first.into_iter().map(Ok));
    let changes = futures::stream::unfold(Some(changes), |receiver| async move {
        let mut receiver = receiver?;
        match receiver.recv().await {
            Ok(change) => Some((Ok(change), Some(receiver))),
            Err(RecvError::Lagged(missed)) => {
                let message = format!("{missed} changes were missed; list again, then watch again");
                Some((
                    Err(Fault::new(Code::Aborted, "WATCH_LAGGED", message).into()),
                    None,
                ))
            }
            Err(RecvError::Closed) => None,
        }
    });
    let picked = futures::StreamExt::filter_map(changes, move |change| {
        futures::future::ready(match change {
            Ok(change) => pick(change).map(Ok),
            Err(status) => Some(Err(status)),
        })
    });
    Box::pin(futures::StreamExt::chain(first, picked))
}
