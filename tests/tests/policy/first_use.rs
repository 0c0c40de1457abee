//! The first time that an agent goes anywhere, as a person meets it.

use anyhow::ensure;
use nexus_proto::v1;
use nexus_proto::v1::explanation::Result as Told;
use nexus_proto::v1::invocation::State as Life;
use nexus_tests::desk::last;
use nexus_tests::origin::Origin;
use nexus_tests::{Client, Host, probe};
use serde_json::{Value, json};

/// Components go live unasked: nobody has read their manifests.
const HASTY: &str =
    r#"@id("publish-is-free") permit (principal, action == Action::"publish", resource);"#;

fn get(origin: &Origin) -> Value {
    json!(probe::exchange(&origin.url(), "get", "/price", &[]))
}

/// Whether the agent's next read of the origin is its first, and what would come of it.
async fn explained(
    client: &mut Client,
    agent: &str,
    origin: &Origin,
) -> anyhow::Result<(bool, Told)> {
    let request = v1::ExplainActionRequest {
        agent: format!("agents/{agent}"),
        verb: "GET".to_owned(),
        target: format!("{}/price", origin.url()),
        ..v1::ExplainActionRequest::default()
    };
    let told = client.policy.explain_action(request).await?.into_inner();
    Ok((told.first_use, told.result()))
}

async fn reads(client: &mut Client, agent: &str, origin: &Origin) -> anyhow::Result<()> {
    let output = client.output(agent, &get(origin)).await?;
    ensure!(last(&output)["ok"]["status"] == 200, "{output}");
    Ok(())
}

#[tokio::test]
async fn the_first_read_of_an_origin_is_asked_about_once_and_for_good() -> anyhow::Result<()> {
    let (market, bank) = (
        Origin::json(json!({ "price": 1 })).await?,
        Origin::json(json!({ "rate": 2 })).await?,
    );
    let policy = tempfile::NamedTempFile::new()?;
    std::fs::write(policy.path(), format!("{}\n{HASTY}\n", nexus_gate::SHIPPED))?;
    let host = Host::builder()
        .config(&format!(
            "[egress]\nprivate_origins = [{:?}, {:?}]\n[approvals]\npolicy = {:?}",
            market.url(),
            bank.url(),
            policy.path()
        ))
        .start()?;
    let mut operator = host.operator().await?;
    let mut carol = host.client("carol", v1::Role::Forger).await?;
    let (to_market, to_bank) = (probe::http(&market.url()), probe::http(&bank.url()));
    let permissions = [to_market.as_str(), to_bank.as_str()];
    carol
        .deploy(&probe::component("reader", &permissions))
        .await?;

    ensure!(explained(&mut operator, "reader", &market).await? == (true, Told::Asks));
    let waiting = carol.invoke("reader", &get(&market)).await?;
    ensure!(waiting.state() == Life::Waiting, "{waiting:?}");
    let asked = operator.approval(&waiting.approvals[0]).await?;
    let rule = "first-use-needs-a-person";
    ensure!(asked.policies.iter().any(|id| id == rule), "{asked:?}");
    ensure!(market.received().is_empty());
    operator.decide(&asked.name, v1::Verdict::Approve).await?;
    let output = carol.result(&waiting.name).await?;
    ensure!(last(&output)["ok"]["status"] == 200, "{output}");
    reads(&mut carol, "reader", &market).await?;

    let host = host.kill_and_restart()?;
    let (mut operator, mut carol) = (
        host.operator().await?,
        host.client("carol", v1::Role::Forger).await?,
    );
    ensure!(explained(&mut operator, "reader", &market).await? == (false, Told::Permitted));
    ensure!(explained(&mut operator, "reader", &bank).await? == (true, Told::Asks));
    reads(&mut carol, "reader", &market).await?;
    // Whoever takes the name after it is a stranger.
    let delete = v1::DeleteAgentRequest {
        name: "agents/reader".to_owned(),
        ..v1::DeleteAgentRequest::default()
    };
    carol.agents.delete_agent(delete).await?;
    carol
        .deploy(&probe::component("reader", &permissions))
        .await?;
    ensure!(explained(&mut operator, "reader", &market).await? == (true, Told::Asks));
    // What one who may decide has handed in has been in front of a person.
    operator
        .deploy(&probe::component("own", &permissions))
        .await?;
    reads(&mut operator, "own", &bank).await
}
