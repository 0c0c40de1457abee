//! Secrets that an agent will miss, told while it is forged.

use nexus_proto::v1;
use nexus_proto::v1::forge_event::{Detail, State};
use nexus_tests::{Client, Host};

use super::rest;

/// What a forge of an agent that sends with the secret `hook` says, and how it ends.
async fn told(client: &mut Client) -> anyhow::Result<(Vec<String>, State)> {
    let set = [
        ("origin", "https://hooks.example.com"),
        ("path", "/in"),
        ("secret", "hook"),
    ];
    let request = v1::ForgeAgentRequest {
        agent_id: "sender".to_owned(),
        template: "http-send".to_owned(),
        set: set
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        validate_only: true,
        ..v1::ForgeAgentRequest::default()
    };
    let events = rest(client.forge.forge_agent(request).await?.into_inner()).await?;
    let state = events.last().map(v1::ForgeEvent::state);
    let logs = events.into_iter().filter_map(|event| match event.detail {
        Some(Detail::Log(line)) if line.contains("`hook`") => Some(line),
        _ => None,
    });
    Ok((logs.collect(), state.unwrap_or_default()))
}

async fn set(client: &mut Client, audience: &str) -> anyhow::Result<()> {
    let request = v1::SetSecretRequest {
        secret_id: "hook".to_owned(),
        value: "a-secret-value-long-enough".to_owned(),
        audience: vec![audience.to_owned()],
        ..v1::SetSecretRequest::default()
    };
    client.vault.set_secret(request).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_the_vault_lacks_is_told_with_the_command_that_sets_it() -> anyhow::Result<()>
{
    let host = Host::start()?;
    let mut client = host.operator().await?;
    let command = "`nexus vault set hook --audience https://hooks.example.com`";
    let (lines, state) = told(&mut client).await?;
    assert_eq!((lines.len(), state), (1, State::Succeeded), "{lines:?}");
    assert!(lines[0].contains("has no secret `hook`"), "{lines:?}");
    assert!(lines[0].contains(command), "{lines:?}");

    // What the vault holds is not told to who may only forge.
    let mut bob = host.client("bob", v1::Role::Forger).await?;
    assert_eq!(told(&mut bob).await?, (Vec::new(), State::Succeeded));

    set(&mut client, "https://other.example.com").await?;
    let (lines, _) = told(&mut client).await?;
    let closed = "may not go to https://hooks.example.com";
    assert!(lines[0].contains(closed), "{lines:?}");
    // To set it anew would take it from the agents that have it.
    assert!(!lines[0].contains("vault set"), "{lines:?}");

    set(&mut client, "https://hooks.example.com").await?;
    assert_eq!(told(&mut client).await?.0, [""; 0]);
    Ok(())
}
