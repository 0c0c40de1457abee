//! Components that can't become agents.

use nexus_proto::v1::deploy_agent_request::Payload;
use nexus_proto::v1::{DeployAgentMetadata, DeployAgentRequest, ListAgentsRequest};
use nexus_tests::client::reason;
use nexus_tests::{component, guests, probe};
use tonic::Code;

use super::{host, still_answers};

#[tokio::test]
async fn what_is_no_agent_is_refused_with_what_to_do() -> anyhow::Result<()> {
    let (_host, mut client) = host().await?;
    let callee = guests::component("callee");
    let bare = component::without_manifest(&callee);
    let manifest = |lines: &str| {
        let mut packed = bare.clone();
        let start = "format = 1\nname = \"callee\"\nversion = \"0.1.0\"\nsummary = \"s\"\n";
        component::append(&mut packed, &format!("{start}{lines}"));
        packed
    };
    let peer = "[[permission]]\npeer = { agent = \"caller\" }\n";
    let mut two = callee.clone();
    component::append(&mut two, "format = 1");
    let core = wat::parse_str("(module)")?;
    let cases: [(&str, Vec<u8>, &str, &[&str]); 13] = [
        (
            "nothing at all",
            Vec::new(),
            "INVALID_COMPONENT",
            &["not a WebAssembly component"],
        ),
        (
            "a text",
            b"fn main() {}".to_vec(),
            "INVALID_COMPONENT",
            &["not a WebAssembly component"],
        ),
        (
            "a core module",
            core,
            "INVALID_COMPONENT",
            &["core module", "wasm32-wasip2"],
        ),
        (
            "half a component",
            callee[..callee.len() / 2].to_vec(),
            "INVALID_COMPONENT",
            &["malformed"],
        ),
        (
            "no manifest",
            bare.clone(),
            "INVALID_COMPONENT",
            &["no manifest", "nexus pack"],
        ),
        (
            "two manifests",
            two,
            "INVALID_COMPONENT",
            &["2 manifests", "exactly one"],
        ),
        (
            "an unknown key",
            manifest(&format!("colour = \"red\"\n{peer}")),
            "INVALID_MANIFEST",
            &["colour"],
        ),
        (
            "an unknown key in a permission",
            manifest("[[permission]]\npeer = { agent = \"caller\", sudo = true }\n"),
            "INVALID_MANIFEST",
            &["sudo"],
        ),
        (
            "a kind of permission that is none",
            manifest("[[permission]]\nroot = {}\n"),
            "INVALID_MANIFEST",
            &["root"],
        ),
        (
            "no TOML",
            manifest("=\n"),
            "INVALID_MANIFEST",
            &["agent.toml"],
        ),
        (
            "a schema that is none",
            manifest(&format!("input = {{ type = 7 }}\n{peer}")),
            "INVALID_MANIFEST",
            &["schema", "input"],
        ),
        (
            "an import without its permission",
            manifest(""),
            "MANIFEST_MISMATCH",
            &["nexus:agent/bus", "`peer` permission", "agent.toml"],
        ),
        (
            "a permission without its import",
            manifest(&format!(
                "{peer}[[permission]]\nmemory = {{ space = \"kb\", access = \"read\" }}\n"
            )),
            "MANIFEST_MISMATCH",
            &["nexus:agent/memory", "remove the permission"],
        ),
    ];
    for (what, bytes, expected, words) in cases {
        let status = client
            .upload(&bytes, DeployAgentMetadata::default())
            .await
            .err();
        let status = status.unwrap_or_else(|| panic!("{what} was taken"));
        assert_eq!(status.code(), Code::InvalidArgument, "{what}: {status}");
        assert_eq!(reason(&status), expected, "{what}: {status}");
        for word in words {
            assert!(
                status.message().contains(word),
                "{what}: no {word:?} in {}",
                status.message()
            );
        }
        still_answers(&mut client).await?;
    }
    let agents = client
        .agents
        .list_agents(ListAgentsRequest::default())
        .await?
        .into_inner()
        .agents;
    assert_eq!(agents.len(), 1, "{agents:?}");
    Ok(())
}

#[tokio::test]
async fn an_upload_for_another_agent_or_other_permissions_is_refused() -> anyhow::Result<()> {
    let (_host, mut client) = host().await?;
    let callee = guests::component("callee");
    let metadata = [
        (
            DeployAgentMetadata {
                agent: "agents/other".to_owned(),
                ..Default::default()
            },
            "names callee",
        ),
        (
            DeployAgentMetadata {
                agent: "Not A Name".to_owned(),
                ..Default::default()
            },
            "agents/ID",
        ),
        (
            DeployAgentMetadata {
                permissions_digest: "sha256:00".to_owned(),
                ..Default::default()
            },
            "other permissions",
        ),
    ];
    for (metadata, word) in metadata {
        let status = client.upload(&callee, metadata).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(
            status.message().contains(word),
            "no {word:?} in {}",
            status.message()
        );
        still_answers(&mut client).await?;
    }
    // Chunks before the metadata, metadata twice, and nothing at all.
    let chunk = || DeployAgentRequest {
        payload: Some(Payload::Chunk(vec![0; 8])),
    };
    let metadata = || DeployAgentRequest {
        payload: Some(Payload::Metadata(DeployAgentMetadata::default())),
    };
    let empty = || DeployAgentRequest { payload: None };
    for messages in [
        vec![chunk()],
        vec![metadata(), metadata()],
        vec![metadata(), empty()],
        vec![],
    ] {
        let status = client
            .agents
            .deploy_agent(tokio_stream::iter(messages))
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert_eq!(reason(&status), "INVALID_FIELD", "{status}");
    }
    still_answers(&mut client).await
}

#[tokio::test]
async fn an_upload_of_a_hundred_megabytes_is_refused_and_not_kept_in_memory() -> anyhow::Result<()>
{
    let (host, mut client) = host().await?;
    let before = host.resident_bytes()?;
    let mut large = guests::component("echo");
    large.resize(100 << 20, 0);
    let status = client
        .upload(&large, DeployAgentMetadata::default())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert_eq!(reason(&status), "COMPONENT_TOO_LARGE", "{status}");
    assert!(
        status.message().contains("32 MiB") && status.message().contains("strip"),
        "{status}"
    );
    // The same connection goes on.
    still_answers(&mut client).await?;
    let grown = host.resident_bytes()?.saturating_sub(before);
    assert!(
        grown < 80 << 20,
        "the host has grown by {} MiB",
        grown >> 20
    );
    Ok(())
}

#[tokio::test]
async fn a_refused_new_version_leaves_the_old_one_live() -> anyhow::Result<()> {
    let (_host, mut client) = host().await?;
    let echo = guests::component("echo");
    let worse = component::with_manifest(&echo, &probe::manifest("echo", &[]));
    let status = client
        .upload(&worse, DeployAgentMetadata::default())
        .await
        .unwrap_err();
    assert_eq!(reason(&status), "MANIFEST_MISMATCH", "{status}");
    still_answers(&mut client).await
}
