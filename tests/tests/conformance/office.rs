//! `boss`, which may call `clerk` and nothing else, and `clerk`, which may write to the market.

use nexus_proto::v1;
use nexus_tests::origin::Origin;
use nexus_tests::{Client, Host, probe};
use serde_json::{Value, json};

/// See the module.
pub(crate) struct Office {
    pub(crate) host: Host,
    pub(crate) client: Client,
    pub(crate) market: Origin,
}

impl Office {
    pub(crate) async fn new() -> anyhow::Result<Self> {
        let market = Origin::json(json!({ "done": true })).await?;
        let host = Host::builder()
            .config(&format!("[egress]\nprivate_origins = [{:?}]", market.url()))
            .start()?;
        let mut client = host.operator().await?;
        for (name, permission) in [
            ("clerk", probe::http(&market.url())),
            ("boss", probe::peer("clerk")),
        ] {
            client
                .deploy(&probe::component(name, &[&permission]))
                .await?;
        }
        Ok(Self {
            host,
            client,
            market,
        })
    }

    /// An order that `clerk` places itself.
    pub(crate) fn order(&self) -> Vec<Value> {
        probe::post(&self.market.url(), "/orders", &json!({ "quantity": 1 }))
    }

    /// What `boss` is told to do: have `clerk` do this.
    pub(crate) fn delegated(&self, steps: &[Value]) -> Vec<Value> {
        vec![
            json!({ "call": "bus.peer.find", "name": "clerk", "as": "b" }),
            json!({ "call": "bus.peer.call", "on": "b", "input": steps, "as": "c" }),
            json!({ "call": "bus.pending.wait", "on": "c" }),
        ]
    }

    /// The whole audit trail.
    pub(crate) async fn events(&mut self) -> anyhow::Result<Vec<v1::Event>> {
        crate::office::events(&mut self.client).await
    }
}

/// The whole audit trail of a host.
pub(crate) async fn events(client: &mut Client) -> anyhow::Result<Vec<v1::Event>> {
    let mut request = v1::ListEventsRequest {
        page_size: 1000,
        ..v1::ListEventsRequest::default()
    };
    let mut events = Vec::new();
    loop {
        let page = client.audit.list_events(request.clone()).await?;
        let page = page.into_inner();
        events.extend(page.events);
        if page.next_page_token.is_empty() {
            return Ok(events);
        }
        request.page_token = page.next_page_token;
    }
}
