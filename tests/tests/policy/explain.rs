//! What would become of an action, compared with what does.

use anyhow::{Context as _, ensure};
use nexus_proto::v1;
use nexus_proto::v1::explanation::Result as Told;
use nexus_tests::probe;
use serde_json::json;

use crate::desk::Desk;

#[tokio::test]
async fn what_is_explained_is_what_happens_and_explaining_changes_nothing() -> anyhow::Result<()> {
    let mut desk = Desk::with("").await?;
    let url = desk.origin.url();
    let head = v1::GetCheckpointRequest {};
    let events = |desk: &Desk| {
        let mut audit = desk.client.audit.clone();
        async move {
            let request = v1::ListEventsRequest {
                page_size: 1000,
                ..v1::ListEventsRequest::default()
            };
            anyhow::Ok(audit.list_events(request).await?.into_inner().events.len())
        }
    };
    desk.client.audit.get_checkpoint(head).await?;
    let before = events(&desk).await?;
    let digits = "9f86d081884c7d659a2feaa0c55ad015";
    let cases = [
        (
            "GET",
            "/price".to_owned(),
            Told::Permitted,
            0,
            "reads-are-free",
        ),
        (
            "POST",
            "/orders".to_owned(),
            Told::Asks,
            1,
            "external-needs-a-person",
        ),
        (
            "GET",
            format!("/x?k={digits}"),
            Told::Asks,
            1,
            "high-entropy-needs-a-person",
        ),
    ];
    for (verb, path, result, approvals, policy) in &cases {
        let request = v1::ExplainActionRequest {
            agent: "agents/trader".to_owned(),
            verb: (*verb).to_owned(),
            target: format!("{url}{path}"),
            ..v1::ExplainActionRequest::default()
        };
        let told = desk
            .client
            .policy
            .explain_action(request)
            .await?
            .into_inner();
        ensure!(
            told.result() == *result && told.approvals == *approvals,
            "{told:?}"
        );
        ensure!(told.policies.iter().any(|id| id == policy), "{told:?}");
        ensure!(
            told.obstacles.is_empty() && told.steps.len() == 3,
            "{told:?}"
        );
        ensure!(told.steps[0].permitted == (*approvals == 0), "{told:?}");
    }
    // What the manifest does not cover, what nobody is there to answer, and who is not there.
    let mut request = v1::ExplainActionRequest {
        agent: "agents/trader".to_owned(),
        verb: "GET".to_owned(),
        target: "https://elsewhere.example.com/".to_owned(),
        ..v1::ExplainActionRequest::default()
    };
    let told = desk
        .client
        .policy
        .explain_action(request.clone())
        .await?
        .into_inner();
    ensure!(told.result() == Told::Forbidden, "{told:?}");
    ensure!(told.obstacles[0].contains("no http permission"), "{told:?}");
    request.target = format!("{url}/orders");
    request.verb = "POST".to_owned();
    request.root_origin = v1::RootOrigin::Schedule.into();
    let told = desk
        .client
        .policy
        .explain_action(request.clone())
        .await?
        .into_inner();
    ensure!(told.result() == Told::Unattended, "{told:?}");
    request.labels = vec!["private".to_owned(), "untrusted".to_owned()];
    request.root_origin = 0;
    request.verb = "GET".to_owned();
    let told = desk
        .client
        .policy
        .explain_action(request.clone())
        .await?
        .into_inner();
    ensure!(told.result() == Told::Asks, "{told:?}");
    request.chain_class = v1::EffectClass::External.into();
    request.labels.clear();
    let told = desk
        .client
        .policy
        .explain_action(request.clone())
        .await?
        .into_inner();
    ensure!(
        told.policies
            .contains(&"strictest-class-of-the-chain-governs".to_owned()),
        "{told:?}"
    );
    request.agent = "agents/nobody".to_owned();
    let unknown = desk.client.policy.explain_action(request).await;
    ensure!(unknown.err().context("no such agent")?.code() == tonic::Code::NotFound);

    let told = desk.host.nexus(&[
        "policy",
        "explain",
        "trader",
        "POST",
        &format!("{url}/orders"),
    ])?;
    let told = String::from_utf8(told.stdout)?;
    ensure!(told.contains("1 person is asked"), "{told}");
    ensure!(told.contains("with 0 approvals it refuses"), "{told}");
    ensure!(
        events(&desk).await? == before,
        "explaining is recorded nowhere"
    );

    // And so it is.
    for (verb, path, _, approvals, policy) in &cases {
        let steps = probe::exchange(&url, &verb.to_lowercase(), path, &[]);
        let invocation = desk.client.invoke("trader", &json!(steps)).await?;
        ensure!(
            invocation.approvals.len() as u32 == *approvals,
            "{invocation:?}"
        );
        if let Some(approval) = invocation.approvals.first() {
            let approval = desk.client.approval(approval).await?;
            ensure!(
                approval.policies.iter().any(|id| id == policy),
                "{approval:?}"
            );
        }
    }
    Ok(())
}
