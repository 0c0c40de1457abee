//! What a dead process leaves behind is over.

use nexus_audit::EventKind;
use nexus_gate::kind::Http;
use nexus_gate::{DecideError, Permit, Refusal, State, Verdict};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::house::{House, alice, order_of};

/// Waits for the permit and keeps it, as an invocation does that has not got to its effect.
fn hold(waiting: JoinHandle<Result<Permit<Http>, Refusal>>) {
    tokio::spawn(async move {
        let permit = waiting.await;
        std::future::pending::<()>().await;
        drop(permit);
    });
}

#[test]
fn what_was_asked_before_a_restart_is_cancelled_by_it() {
    let dir = TempDir::new().unwrap();
    let first = Runtime::new().unwrap();
    // Six pending or queued, one approved and not used, one denied. Then the process dies: nothing of
    // it runs on, no destructor writes anything.
    let (open, approved, denied) = first.block_on(async {
        let mut house = House::at(dir.path(), |_| ()).await;
        let mut ids = Vec::new();
        for number in 0..2 {
            hold(house.bring::<Http>(order_of(number)));
            ids.push(house.next(State::Pending).await.id);
        }
        let (approved, denied) = (ids[0], ids[1]);
        let deny = Verdict::Deny;
        house
            .gate
            .decide(denied, deny, None, &alice())
            .await
            .unwrap();
        house
            .gate
            .decide(approved, Verdict::Approve, None, &alice())
            .await
            .unwrap();
        let mut open = Vec::new();
        for number in 0..6 {
            hold(house.bring::<Http>(order_of(number)));
            let state = if number < 5 {
                State::Pending
            } else {
                State::Queued
            };
            open.push(house.next(state).await.id);
        }
        (open, approved, denied)
    });
    drop(first);

    let second = Runtime::new().unwrap();
    second.block_on(async {
        let house = House::at(dir.path(), |_| ()).await;
        for id in open.iter().copied() {
            let left = house.approval(id).await;
            assert_eq!(left.state, State::Cancelled);
            assert_eq!(left.cancel_reason.as_deref(), Some("host restarted"));
            let error = house
                .gate
                .decide(id, Verdict::Approve, None, &alice())
                .await
                .unwrap_err();
            assert!(matches!(error, DecideError::Closed(_)), "{error}");
        }
        // A yes that was not used died with its permit, and saying it again does not revive it.
        assert_eq!(house.approval(approved).await.state, State::Cancelled);
        let error = house
            .gate
            .decide(approved, Verdict::Approve, None, &alice())
            .await
            .unwrap_err();
        assert!(matches!(error, DecideError::Closed(_)), "{error}");
        assert_eq!(house.approval(denied).await.state, State::Denied);
        assert_eq!(house.in_state(State::Cancelled).await.len(), open.len() + 1);
        let recorded = house.events().await.into_iter().filter(|record| {
            record.event.kind == EventKind::ApprovalCancelled
                && record.event.outcome.as_deref() == Some("host restarted")
        });
        assert_eq!(recorded.count(), open.len() + 1);
        assert_eq!(house.count(EventKind::EffectStarted).await, 0);
    });
}
