//! Numbers beyond what they count.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nexus_proto::v1;
use nexus_tests::client::reason;
use tonic::Code;

use super::{host, still_answers};

#[tokio::test]
async fn nothing_comes_after_the_last_number_there_is() -> anyhow::Result<()> {
    let (_host, mut client) = host().await?;
    let last = v1::ListEventsRequest {
        after_sequence: u64::MAX,
        ..v1::ListEventsRequest::default()
    };
    let page = v1::ListEventsRequest {
        page_token: URL_SAFE_NO_PAD.encode(u64::MAX.to_string()),
        ..v1::ListEventsRequest::default()
    };
    for request in [last, page] {
        let listed = client.audit.list_events(request).await?.into_inner();
        assert_eq!(listed.events.len(), 0);
        assert_eq!(listed.next_page_token, "");
    }
    let watch = v1::WatchEventsRequest {
        after_sequence: u64::MAX,
    };
    let mut watching = client.audit.watch_events(watch).await?.into_inner();
    // What happens meanwhile is not told: its number is a smaller one.
    still_answers(&mut client).await?;
    let first = futures::poll!(std::pin::pin!(watching.message()));
    assert!(first.is_pending(), "{first:?}");
    Ok(())
}

#[tokio::test]
async fn a_token_lives_no_longer_than_time_can_be_written() -> anyhow::Result<()> {
    let (_host, mut client) = host().await?;
    for years in [8_000, 10_000] {
        let request = v1::CreateTokenRequest {
            principal: "bob".to_owned(),
            role: v1::Role::Caller.into(),
            ttl: Some(prost_types::Duration {
                seconds: years * 366 * 24 * 60 * 60,
                nanos: 0,
            }),
            ..v1::CreateTokenRequest::default()
        };
        let refused = client.system.create_token(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        assert_eq!(reason(&refused), "INVALID_FIELD");
    }
    client
        .system
        .list_tokens(v1::ListTokensRequest::default())
        .await?;
    still_answers(&mut client).await
}
