//! What is nested deeper than a stack is high: T7.

use bytes::Bytes;
use http::uri::PathAndQuery;
use nexus_proto::v1::exhausted::Limit;
use nexus_tests::client::reason;
use nexus_tests::guests as real;
use nexus_tests::raw::Raw;
use serde_json::json;
use tonic::{Code, Request};

use super::guests::{NULL, agent, manifest, module, pack};
use super::support::{host, is_well, limit};

const DEEP: usize = 100_000;

#[tokio::test]
async fn t07_recursion_ends_at_the_stack_limit_on_every_thread_at_once() -> anyhow::Result<()> {
    let (mut host, mut client) = host("[runtime]\nworkers = 2\n").await?;
    client.deploy(&real::component("hostile")).await?;
    for _ in 0..4 {
        let deep: Vec<_> = (0..8)
            .map(|_| {
                let mut client = client.clone();
                tokio::spawn(
                    async move { client.invoke("hostile", &json!({ "do": "stack" })).await },
                )
            })
            .collect();
        for ended in deep {
            let ended = ended.await??;
            assert_eq!(limit(&ended), Some(Limit::Stack), "{ended:?}");
        }
        is_well(&mut host, &mut client).await?;
    }
    Ok(())
}

#[tokio::test]
async fn t07_deeply_nested_input_is_refused_by_every_parser() -> anyhow::Result<()> {
    let (mut host, mut client) = host("").await?;

    // JSON, as the input of an agent with a schema and of one without.
    client.deploy(&real::component("hostile")).await?;
    let texts = [
        "[".repeat(DEEP) + &"]".repeat(DEEP),
        "{\"a\":".repeat(DEEP) + "1" + &"}".repeat(DEEP),
        "[".repeat(DEEP),
        "[{\"a\":".repeat(DEEP),
    ];
    for text in &texts {
        for agent in ["echo", "hostile"] {
            let request = nexus_proto::v1::InvokeAgentRequest {
                name: format!("agents/{agent}"),
                input: text.clone(),
                ..Default::default()
            };
            let status = client.invocations.invoke_agent(request).await.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument, "{status}");
            assert_eq!(reason(&status), "INPUT_SCHEMA", "{status}");
        }
        is_well(&mut host, &mut client).await?;
    }

    // TOML, as a manifest; and JSON Schema in it.
    let core = agent("deep", "", &module("17", "", "", NULL));
    let bare = nexus_tests::component::without_manifest(&core);
    let arrays = |n: usize| "[".repeat(n) + &"]".repeat(n);
    let tables = |n: usize| "{ a = ".repeat(n) + "1" + &" }".repeat(n);
    let dotted = vec!["a"; 30_000].join(".");
    let lines = [
        format!("config.a = {}\n", arrays(50_000)),
        format!("config.a = {}\n", tables(15_000)),
        format!("config.{dotted} = 1\n"),
        format!("[config.{dotted}]\n"),
        format!("input = {}\n", tables(60)),
        format!("[input]\nallOf = {}\n", arrays(50_000)),
        "[".repeat(DEEP),
    ];
    for line in lines {
        assert!(
            manifest("deep", &line).len() < 128 << 10,
            "refused for its size alone"
        );
        let packed = pack("deep", &line, bare.clone());
        let status = client
            .upload(&packed, Default::default())
            .await
            .unwrap_err();
        let begin: String = line.chars().take(40).collect();
        assert_eq!(status.code(), Code::InvalidArgument, "{begin}: {status}");
        assert_eq!(reason(&status), "INVALID_MANIFEST", "{begin}: {status}");
        is_well(&mut host, &mut client).await?;
    }

    // Protocol buffers: groups in groups, which no message of the contract has.
    let mut grpc = tonic::client::Grpc::new(host.channel().await?);
    let groups = vec![0x1b; DEEP];
    let closed: Vec<u8> = groups.iter().copied().chain(vec![0x1c; DEEP]).collect();
    for message in [groups, closed] {
        grpc.ready().await?;
        let mut request = Request::new(Bytes::from(message));
        let token = format!("Bearer {}", host.token()).parse()?;
        request.metadata_mut().insert("authorization", token);
        let path = PathAndQuery::from_static("/nexus.v1.AgentService/GetAgent");
        let status = grpc.unary(request, path, Raw).await.unwrap_err();
        assert!(
            matches!(status.code(), Code::Internal | Code::InvalidArgument),
            "{status}"
        );
        is_well(&mut host, &mut client).await?;
    }
    Ok(())
}
