//! A host, origins, and an agent that may use all of them.

use anyhow::{Context as _, bail};
use http::StatusCode;
use nexus_proto::v1;
use nexus_proto::v1::invocation_event::Event;
use nexus_tests::origin::{Origin, Received, json as answer};
use nexus_tests::{Authority, Client, Host, guests, probe};
use serde_json::{Value, json};

/// With characters that every place has to carry in its own way.
pub(crate) const SECRET: &str = "k3y/with+odd=chars & %spaces";
/// A host with an agent that may do everything the cases need.
pub(crate) struct Stage {
    _host: Host,
    pub(crate) client: Client,
    pub(crate) plain: Origin,
    pub(crate) secure: Origin,
    _authority: Authority,
}

impl Stage {
    pub(crate) async fn new(policy: &str) -> anyhow::Result<Self> {
        let authority = Authority::new()?;
        let reply = |_: &Received| answer(StatusCode::OK, &json!({ "price": 3000 }));
        let plain = Origin::start(reply).await?;
        let secure = Origin::start_tls(&authority, reply).await?;
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("policy.cedar");
        std::fs::write(&file, policy)?;
        let host = Host::builder()
            .config(&format!(
                "[egress]\nprivate_origins = [{:?}, {:?}]\nextra_roots = {:?}\n[approvals]\npolicy = {file:?}",
                plain.url(),
                secure.url(),
                authority.path(),
            ))
            .start()?;
        let mut client = host.operator().await?;
        for (name, audience) in [("probe-key", &secure), ("other-key", &secure)] {
            let request = v1::SetSecretRequest {
                secret_id: name.to_owned(),
                value: SECRET.to_owned(),
                audience: vec![audience.url()],
                ..v1::SetSecretRequest::default()
            };
            client.vault.set_secret(request).await?;
        }
        client.deploy(&guests::component("callee")).await?;
        let permissions = [
            probe::http(&plain.url()),
            probe::http(&secure.url()),
            probe::secret("probe-key", &[&secure.url()]),
            probe::memory("probe"),
            r#"memory = { space = "readable", access = "read" }"#.to_owned(),
            probe::peer("callee"),
        ];
        let permissions: Vec<&str> = permissions.iter().map(String::as_str).collect();
        client
            .deploy(&probe::component("probe", &permissions))
            .await?;
        Ok(Self {
            _host: host,
            client,
            plain,
            secure,
            _authority: authority,
        })
    }

    /// What came of the steps, one value for each.
    pub(crate) async fn run(&self, steps: &[Value]) -> anyhow::Result<Vec<Value>> {
        let output = self.client.clone().output("probe", &json!(steps)).await?;
        Ok(serde_json::from_value(output)?)
    }

    /// The error of the last step.
    pub(crate) async fn refusal(&self, steps: &[Value]) -> anyhow::Result<String> {
        let answers = self.run(steps).await?;
        let last = answers.last().context("an answer")?;
        let Some(code) = last["error"].as_str() else {
            bail!("{last} is no refusal of {steps:?}");
        };
        Ok(code.to_owned())
    }

    /// Runs the steps after a request that waits until the invocation is watched.
    pub(crate) async fn watched(
        &self,
        steps: &[Value],
    ) -> anyhow::Result<(Vec<Value>, Vec<Event>)> {
        let mut client = self.client.clone();
        let mut all = probe::exchange(&self.plain.url(), "delete", "/hold", &[]);
        let held = all.len();
        all.extend_from_slice(steps);
        let waiting = client.invoke("probe", &json!(all)).await?;
        let request = v1::WatchInvocationRequest {
            name: waiting.name.clone(),
        };
        let mut stream = client
            .invocations
            .watch_invocation(request)
            .await?
            .into_inner();
        // The first event is the state as it is: from here on nothing is missed.
        let first = stream.message().await?.and_then(|event| event.event);
        let mut events = Vec::from_iter(first);
        let approval = waiting.approvals.first().context("an approval")?;
        client.decide(approval, v1::Verdict::Approve).await?;
        while let Some(event) = stream.message().await? {
            events.extend(event.event);
        }
        let output = client.result(&waiting.name).await?;
        let mut answers: Vec<Value> = serde_json::from_value(output)?;
        Ok((answers.split_off(held), events))
    }
}
