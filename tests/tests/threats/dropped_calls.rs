//! Clients that leave at any moment: T6.

use nexus_proto::v1::invocation::State;
use nexus_proto::v1::{GetStatusRequest, ListInvocationsRequest};
use nexus_tests::origin::Origin;
use nexus_tests::{Client, probe};
use serde_json::{Value, json};

use super::support::{host, is_well};

const PLACES: usize = 8;

/// Ends whatever still runs, by waiting for it, and by cancelling what waits for a person.
async fn settle(client: &mut Client) -> anyhow::Result<()> {
    for state in [State::Running, State::Waiting] {
        let request = ListInvocationsRequest {
            page_size: 1_000,
            state: state.into(),
            ..Default::default()
        };
        let left = client
            .invocations
            .list_invocations(request)
            .await?
            .into_inner()
            .invocations;
        for invocation in left {
            let cancel = nexus_proto::v1::CancelInvocationRequest {
                name: invocation.name,
                ..Default::default()
            };
            client.invocations.cancel_invocation(cancel).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn t06_calls_that_are_dropped_at_any_moment_end_nothing_and_keep_no_place()
-> anyhow::Result<()> {
    let origin = Origin::json(json!({ "price": 1 })).await?;
    let config = format!(
        "[runtime]\nworkers = 2\nconcurrency_per_agent = 100\ninstances = 16\n[egress]\nprivate_origins = [\"{}\"]\n",
        origin.url()
    );
    let (mut host, mut client) = host(&config).await?;
    let url = origin.url();
    client
        .deploy(&probe::component(
            "caller",
            &[&probe::http(&url), &probe::memory("space")],
        ))
        .await?;
    let read = Value::from(probe::exchange(&url, "get", "/", &[]));
    let write = Value::from(probe::post(&url, "/", &json!({})));
    for moment in 0..200 {
        // Half of the calls take their connection with them.
        let mut leaver = if moment % 2 == 0 {
            client.clone()
        } else {
            host.operator().await?
        };
        let input = if moment % 4 < 2 {
            read.clone()
        } else {
            write.clone()
        };
        let call = tokio::spawn(async move { leaver.invoke("caller", &input).await });
        // One more turn of the scheduler each time: from before the first byte to after the last.
        for _ in 0..moment {
            tokio::task::yield_now().await;
        }
        call.abort();
        let _ = call.await;
        if moment % 50 == 49 {
            settle(&mut client).await?;
        }
    }
    settle(&mut client).await?;
    is_well(&mut host, &mut client).await?;

    // Every place is there again: as many calls as there are places wait at the same time.
    let mut waiting = Vec::new();
    for _ in 0..PLACES {
        let invocation = client.invoke("caller", &write).await?;
        assert_eq!(invocation.state(), State::Waiting, "{invocation:?}");
        waiting.push(invocation);
    }
    let status = client
        .system
        .get_status(GetStatusRequest {})
        .await?
        .into_inner();
    assert_eq!(status.waiting_invocations, PLACES as u64, "{status:?}");
    settle(&mut client).await?;
    // Nobody said yes to any write.
    assert!(
        origin
            .received()
            .iter()
            .all(|received| received.method == "GET")
    );
    Ok(())
}
