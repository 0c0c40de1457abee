//! What the proof refuses of a forged component, through the compiler, whoever wrote the source.

use nexus_proto::v1;
use nexus_proto::v1::forge_event::{Detail, FailureReason, Stage, State};
use nexus_tests::Host;

use super::{agent, forging, manifest, rest};

fn source(body: &str) -> String {
    format!(
        "use nexus_agent::prelude::*;\nexport!(invoke);\nfn invoke(input: Value) -> Result<Value> {{ {body} }}\n"
    )
}

/// A memory permission for the space `notes`.
fn memory(access: &str) -> String {
    format!("[[permission]]\nmemory = {{ space = \"notes\", access = \"{access}\" }}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_is_not_what_its_manifest_says_ends_its_forge_at_the_proof()
-> anyhow::Result<()> {
    let host = Host::start()?;
    let mut client = host.operator().await?;
    let http = "[[permission]]\nhttp = { origin = \"https://a.example.com\", methods = [\"GET\"], paths = [\"/x\"] }\n";
    let get = "Ok(http::get(\"https://a.example.com/x\")?.json()?)";
    let look = "Ok(memory::space(\"notes\")?.get_json(\"k\")?.unwrap_or(input))";
    let put = "memory::space(\"notes\")?.put_json(\"k\", &input)?; Ok(input)";
    let delete = "memory::space(\"notes\")?.delete(\"k\")?; Ok(input)";
    let call = "Ok(bus::peer(\"other\")?.call(&input)?.json()?)";
    let sign = "vault::secret(\"key\")?; Ok(input)";
    let cases: Vec<(&str, String, String, &str)> = vec![
        (
            "a request",
            source(get),
            String::new(),
            "imports `nexus:agent/http@",
        ),
        (
            "memory",
            source(look),
            String::new(),
            "imports `nexus:agent/memory@",
        ),
        (
            "a peer",
            source(call),
            String::new(),
            "imports `nexus:agent/bus@",
        ),
        (
            "a secret",
            source(sign),
            String::new(),
            "imports `nexus:agent/vault@",
        ),
        (
            "a request beside memory",
            source(get),
            memory("read"),
            "imports `nexus:agent/http@",
        ),
        (
            "a permission for nothing",
            source("Ok(input)"),
            http.to_owned(),
            "does not import `nexus:agent/http`",
        ),
        (
            "a write where only reads are asked for",
            source(put),
            memory("read"),
            "calls `[method]space.put`",
        ),
        (
            "a deletion where only reads are asked for",
            source(delete),
            memory("read"),
            "calls `[method]space.delete`",
        ),
        (
            "a read where writes are asked for",
            source(look),
            memory("read-write"),
            "never writes to memory",
        ),
        (
            "sockets",
            source("Ok(json!(std::net::TcpStream::connect(\"127.0.0.1:1\").is_ok()))"),
            String::new(),
            "imports `wasi:sockets",
        ),
    ];
    for (what, source, more, words) in cases {
        let request = v1::ForgeAgentRequest {
            source,
            manifest: manifest("refused", &more),
            ..forging("refused")
        };
        let told = rest(client.forge.forge_agent(request).await?.into_inner()).await?;
        let last = told.last().unwrap();
        assert_eq!(
            (last.stage(), last.state()),
            (Stage::Proof, State::Failed),
            "{what}: {last:?}"
        );
        assert_eq!(last.failure_reason(), FailureReason::Proof, "{what}");
        let Some(Detail::Diagnostics(found)) = &last.detail else {
            panic!("{what}: {last:?}");
        };
        let message = &found.diagnostics[0].message;
        assert!(message.contains(words), "{what}: {message}");
    }
    assert!(agent(&mut client, "refused").await.is_err());
    // The value of a secret is not even there to be asked for.
    let reveal = v1::ForgeAgentRequest {
        source: source("let key = vault::secret(\"key\")?; Ok(json!(key.reveal(\"to see it\")?))"),
        manifest: manifest(
            "refused",
            "[[permission]]\nsecret = { name = \"key\", audience = [\"https://a.example.com\"], reveal = true }\n",
        ),
        ..forging("refused")
    };
    let told = rest(client.forge.forge_agent(reveal).await?.into_inner()).await?;
    let last = told.last().unwrap();
    assert!(
        matches!(last.stage(), Stage::Build | Stage::Proof),
        "{last:?}"
    );
    assert_eq!(last.state(), State::Failed, "{last:?}");
    assert!(agent(&mut client, "refused").await.is_err());
    Ok(())
}
