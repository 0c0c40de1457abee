//! The operator's own way out.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use nexus_effects::Error;
use nexus_effects::operator_egress::{OperatorClient, OperatorError, OperatorOptions};

use crate::house::Names;
use crate::server::{Answer, Server};

const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";
const STREAM: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n\
    10\r\ndata: {\"a\": 1}\n\n\r\ne\r\ndata: [DONE]\n\n\r\n0\r\n\r\n";

fn options() -> OperatorOptions {
    OperatorOptions {
        bearer: Some("model-key-123".into()),
        ..OperatorOptions::default()
    }
}

async fn read(client: &OperatorClient) -> (u16, Vec<u8>, Option<Error>) {
    let response = client
        .post(&"/v1/chat".parse().unwrap(), JSON, EVENTS, "{}")
        .await
        .unwrap();
    let (mut bytes, mut error) = (Vec::new(), None);
    let mut body = response.body;
    while let Some(piece) = body.next().await {
        match piece {
            Ok(piece) => bytes.extend(piece),
            Err(failed) => error = Some(failed),
        }
    }
    (response.status, bytes, error)
}

#[tokio::test]
async fn a_stream_of_events_arrives_as_it_is() {
    let server = Server::plain(Answer::Bytes(STREAM.into())).await;
    let client = OperatorClient::new("model", server.origin.clone(), options()).unwrap();
    let (status, bytes, error) = read(&client).await;
    assert_eq!(
        (status, bytes.as_slice()),
        (200, &b"data: {\"a\": 1}\n\ndata: [DONE]\n\n"[..])
    );
    assert!(error.is_none(), "{error:?}");
    let wire = server.request();
    assert!(wire.starts_with("POST /v1/chat HTTP/1.1\r\n") && wire.ends_with("\r\n\r\n{}"));
    assert!(
        wire.contains("authorization: Bearer model-key-123\r\n")
            && wire.contains("accept: text/event-stream\r\n")
    );
    assert!(!format!("{client:?}").contains("model-key"));
}

#[tokio::test]
async fn size_and_silence_are_limited() {
    let server = Server::plain(Answer::Bytes(STREAM.into())).await;
    let small = OperatorOptions {
        max_bytes: 20,
        ..options()
    };
    let client = OperatorClient::new("model", server.origin.clone(), small).unwrap();
    assert!(matches!(read(&client).await.2, Some(Error::Exhausted(_))));

    let stump = STREAM.replace("0\r\n\r\n", "");
    let server = Server::plain(Answer::Bytes(stump.clone().into())).await;
    let idle_timeout = Duration::from_millis(300);
    let client = OperatorClient::new(
        "model",
        server.origin.clone(),
        OperatorOptions {
            idle_timeout,
            ..options()
        },
    )
    .unwrap();
    assert!(matches!(read(&client).await.2, Some(Error::Timeout(_))));

    let server = Server::plain(Answer::Stump(stump.into())).await;
    let client = OperatorClient::new("model", server.origin.clone(), options()).unwrap();
    assert!(matches!(read(&client).await.2, Some(Error::Unavailable(_))));
}

#[tokio::test]
async fn in_clear_it_stays_on_this_machine() {
    for elsewhere in [
        "http://10.0.0.5:11434",
        "http://model.example",
        "http://[fd00::1]",
    ] {
        let refused = OperatorClient::new("model", elsewhere.parse().unwrap(), options());
        assert!(
            matches!(refused, Err(OperatorError::Plain { .. })),
            "{elsewhere}"
        );
        let allowed = OperatorOptions {
            allow_plain: true,
            ..options()
        };
        assert!(OperatorClient::new("model", elsewhere.parse().unwrap(), allowed).is_ok());
    }
    // A name that says loopback and leads elsewhere.
    let resolver = Arc::new(Names::new(&["192.0.2.1"]));
    let client = OperatorClient::new(
        "model",
        "http://localhost:9".parse().unwrap(),
        OperatorOptions {
            network: resolver,
            ..options()
        },
    );
    let refused = client
        .unwrap()
        .post(&"/".parse().unwrap(), JSON, JSON, "{}")
        .await;
    assert!(matches!(refused.err(), Some(Error::Forbidden(_))));
}
