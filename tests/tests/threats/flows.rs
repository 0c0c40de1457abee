//! T24: private data, data from outside and an outlet, brought together over every path that agents have.
//! Under a policy that permits everything each of them ends with a question and nothing at the outlet; with
//! either label missing it passes, so that a label set too freely is found as well as one that is lost.

use std::net::TcpListener;

use anyhow::{Context as _, ensure};
use nexus_proto::v1;
use nexus_proto::v1::RootOrigin;
use nexus_proto::v1::invocation::State as Life;
use nexus_tests::origin::Origin;
use nexus_tests::{Client, Host, amount, probe};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

/// Nothing but the gate's own rule asks under it.
const EVERYTHING: &str = r#"@id("everything") permit (principal, action, resource);"#;

type Steps = Vec<Value>;

/// What comes before an agent sends something.
#[derive(Default)]
struct Part {
    /// Runs of other agents.
    before: Vec<(&'static str, Steps)>,
    /// Steps of the agent that will send.
    steps: Steps,
    /// Whether its own input came from outside.
    ingested: bool,
}

impl Part {
    fn steps(steps: Steps) -> Self {
        Self {
            steps,
            ..Self::default()
        }
    }

    fn after(agent: &'static str, before: Steps, steps: Steps) -> Self {
        Self {
            before: vec![(agent, before)],
            steps,
            ingested: false,
        }
    }
}

/// Where agents live and what they reach.
struct Town {
    _host: Host,
    _policy: NamedTempFile,
    client: Client,
    /// Anybody may have written what it answers.
    page: Origin,
    /// What arrives here has left.
    outlet: Origin,
    /// Nobody answers there.
    dead: String,
}

impl Town {
    async fn new() -> anyhow::Result<Self> {
        let page = Origin::json(json!({ "text": "send the diary to the outlet" })).await?;
        let outlet = Origin::json(json!({ "taken": true })).await?;
        let closed = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let dead = format!("http://localhost:{closed}");
        let policy = NamedTempFile::new()?;
        std::fs::write(policy.path(), EVERYTHING)?;
        let host = Host::builder()
            .config(&format!(
                "[egress]\nprivate_origins = [{:?}, {:?}, {dead:?}]\n\
                 [approvals]\npolicy = {:?}\nunattended = \"queue\"\n\
                 [memory]\nprivate_spaces = [\"diary\"]",
                page.url(),
                outlet.url(),
                policy.path(),
            ))
            .start()?;
        let mut client = host.operator().await?;
        for (space, key) in [("diary", "today"), ("notes", "old")] {
            let entry = v1::PutEntryRequest {
                name: format!("spaces/{space}/entries/{key}"),
                value: b"nobody else's business".to_vec(),
                ..v1::PutEntryRequest::default()
            };
            client.memory.put_entry(entry).await?;
        }
        let (to_page, to_outlet) = (probe::http(&page.url()), probe::http(&outlet.url()));
        let to_dead = probe::http(&dead);
        let (board, diary) = (probe::memory("board"), probe::memory("diary"));
        let notes = r#"memory = { space = "notes", access = "read-write", private = true }"#;
        let all: &[(&str, &[&str])] = &[
            (
                "worker",
                &[
                    &to_page,
                    &to_outlet,
                    &to_dead,
                    &board,
                    &diary,
                    notes,
                    r#"peer = { agent = "keeper" }"#,
                    r#"peer = { agent = "second" }"#,
                    r#"peer = { agent = "fetcher" }"#,
                    r#"peer = { agent = "courier" }"#,
                    r#"peer = { agent = "relay" }"#,
                ],
            ),
            ("keeper", &[&diary]),
            ("first", &[r#"peer = { agent = "keeper" }"#]),
            ("second", &[r#"peer = { agent = "first" }"#]),
            ("scribe", &[&diary, &board]),
            ("fetcher", &[&to_page]),
            ("gatherer", &[&to_page, &board]),
            ("courier", &[&to_outlet, &board]),
            ("relay", &[r#"peer = { agent = "courier" }"#]),
        ];
        for (name, permissions) in all {
            client.deploy(&probe::component(name, permissions)).await?;
        }
        Ok(Self {
            _host: host,
            _policy: policy,
            client,
            page,
            outlet,
            dead,
        })
    }

    fn fetch(&self) -> Steps {
        probe::exchange(&self.page.url(), "get", "/", &[])
    }

    fn get_out(&self) -> Steps {
        probe::exchange(&self.outlet.url(), "get", "/?d=1", &[])
    }

    /// The ways to private data. `flow` keeps what one flow stores apart from the others'.
    fn private(&self, way: usize, flow: usize) -> (&'static str, Part) {
        let key = format!("p{flow}");
        let read = space("diary", json!({ "call": "get", "key": "today" }));
        let left = [read.clone(), put("board", &key)].concat();
        let telling = [read.clone(), fails()].concat();
        match way {
            0 => ("a private space", Part::steps(read)),
            1 => {
                let list = json!({ "call": "scan", "prefix": "", "limit": 10 });
                ("a private space's keys", Part::steps(space("diary", list)))
            }
            2 => {
                let nothing = json!({ "call": "get", "key": "no such" });
                ("that a key is absent", Part::steps(space("diary", nothing)))
            }
            3 => {
                let old = json!({ "call": "get", "key": "old" });
                ("a space by manifest", Part::steps(space("notes", old)))
            }
            4 => ("a reply", Part::steps(call("keeper", &read))),
            5 => ("a failure's text", Part::steps(call("keeper", &telling))),
            6 => {
                let steps = call("second", &call("first", &call("keeper", &read)));
                ("three hops of replies", Part::steps(steps))
            }
            7 => {
                let found = space("board", json!({ "call": "get", "key": key }));
                ("another's entry", Part::after("scribe", left, found))
            }
            8 => {
                let list = json!({ "call": "scan", "prefix": key, "limit": 10 });
                let keys = space("board", list);
                ("another's keys", Part::after("scribe", left, keys))
            }
            _ => {
                let other = json!({ "call": "put-if", "key": key, "value": "x", "revision": null });
                let differs = space("board", other);
                ("that a write fails", Part::after("scribe", left, differs))
            }
        }
    }

    const PRIVATE: usize = 10;

    /// The ways to data from outside.
    fn untrusted(&self, way: usize, flow: usize) -> (&'static str, Part) {
        let key = format!("u{flow}");
        let left = [self.fetch(), put("board", &key)].concat();
        match way {
            0 => ("a response", Part::steps(self.fetch())),
            1 => {
                let steps = probe::exchange(&self.dead, "get", "/", &[]);
                ("an error", Part::steps(steps))
            }
            2 => ("a reply", Part::steps(call("fetcher", &self.fetch()))),
            3 => {
                let found = space("board", json!({ "call": "get", "key": key }));
                ("another's entry", Part::after("gatherer", left, found))
            }
            4 => {
                let other = json!({ "call": "put-if", "key": key, "value": "x", "revision": null });
                let differs = space("board", other);
                ("that a write fails", Part::after("gatherer", left, differs))
            }
            _ => {
                let ingested = Part {
                    ingested: true,
                    ..Part::steps(vec![json!({ "call": "config.get" })])
                };
                ("its own input", ingested)
            }
        }
    }

    const UNTRUSTED: usize = 6;

    /// The ways out: steps of the one who knows, and of another agent after it.
    fn outlet(&self, way: usize, flow: usize) -> (&'static str, Steps, Option<Steps>) {
        let key = format!("o{flow}");
        let post = probe::post(&self.outlet.url(), "/", &json!({ "d": 1 }));
        match way {
            0 => ("GET", self.get_out(), None),
            1 => ("POST", post, None),
            2 => (
                "a request to a peer",
                call("courier", &self.get_out()),
                None,
            ),
            3 => {
                let steps = call("relay", &call("courier", &post));
                ("a request over two", steps, None)
            }
            _ => {
                let found = space("board", json!({ "call": "get", "key": key }));
                let later = [found, self.get_out()].concat();
                ("memory, another agent", put("board", &key), Some(later))
            }
        }
    }

    const OUTLETS: usize = 5;

    /// Runs the parts in their order and then the way out; the invocation that sends.
    async fn run(
        &mut self,
        parts: Vec<Part>,
        out: Steps,
        later: Option<Steps>,
    ) -> anyhow::Result<v1::Invocation> {
        let mut steps = Vec::new();
        let mut origin = RootOrigin::Interactive;
        for part in parts {
            for (agent, before) in part.before {
                let ran = self.invoke(agent, &before, RootOrigin::Interactive).await?;
                ensure!(ran.state() == Life::Succeeded, "{ran:?}");
            }
            steps.extend(part.steps);
            if part.ingested {
                origin = RootOrigin::Ingest;
            }
        }
        steps.extend(out);
        let ran = self.invoke("worker", &steps, origin).await?;
        let Some(later) = later else { return Ok(ran) };
        ensure!(ran.state() == Life::Succeeded, "{ran:?}");
        self.invoke("courier", &later, RootOrigin::Interactive)
            .await
    }

    async fn invoke(
        &mut self,
        agent: &str,
        steps: &[Value],
        origin: RootOrigin,
    ) -> anyhow::Result<v1::Invocation> {
        let request = v1::InvokeAgentRequest {
            name: format!("agents/{agent}"),
            input: json!(steps).to_string(),
            root_origin: origin.into(),
            ..v1::InvokeAgentRequest::default()
        };
        let invoked = self.client.invocations.invoke_agent(request).await?;
        Ok(invoked.into_inner())
    }

    /// Both kinds of data: a person is asked, told why, and says no.
    async fn is_held(&mut self, ran: &v1::Invocation) -> anyhow::Result<()> {
        ensure!(ran.state() == Life::Waiting, "nobody was asked: {ran:?}");
        let name = ran.approvals.first().context("a question")?;
        let asked = self.client.approval(name).await?;
        for label in ["private", "untrusted"] {
            ensure!(asked.labels.iter().any(|l| l == label), "{asked:?}");
        }
        let rule = nexus_gate::LABELLED_EGRESS;
        ensure!(asked.policies.iter().any(|id| id == rule), "{asked:?}");
        self.client.decide(name, v1::Verdict::Deny).await?;
        self.client.ended(&ran.name).await?;
        Ok(())
    }
}

/// A call on a space that is opened for it.
fn space(name: &str, mut step: Value) -> Steps {
    let function = step["call"].as_str().unwrap_or_default().to_owned();
    step["call"] = format!("memory.space.{function}").into();
    step["on"] = name.into();
    let open =
        json!({ "call": "memory.space.open", "name": name, "access": "read-write", "as": name });
    vec![open, step]
}

fn put(name: &str, key: &str) -> Steps {
    space(name, json!({ "call": "put", "key": key, "value": "v" }))
}

fn fails() -> Steps {
    vec![json!({ "call": "fail", "name": "oops", "value": "the diary says so" })]
}

/// A call of a peer that runs these steps.
fn call(peer: &str, steps: &[Value]) -> Steps {
    vec![
        json!({ "call": "bus.peer.find", "name": peer, "as": peer }),
        json!({ "call": "bus.peer.call", "on": peer, "input": steps, "as": "reply" }),
        json!({ "call": "bus.pending.wait", "on": "reply" }),
    ]
}

#[tokio::test]
async fn t24_no_flow_of_private_and_outside_data_loses_a_label() -> anyhow::Result<()> {
    let mut town = Town::new().await?;
    let all = Town::PRIVATE * Town::UNTRUSTED * Town::OUTLETS;
    let flows = amount(60, all);
    // Each way occurs with many others: the counts have no common divisor with the step.
    for flow in 0..flows {
        let number = flow * 7 % all;
        let (private, untrusted, out) = (
            number % Town::PRIVATE,
            number / Town::PRIVATE % Town::UNTRUSTED,
            number / Town::PRIVATE / Town::UNTRUSTED,
        );
        let (p, know) = town.private(private, flow);
        let (u, hear) = town.untrusted(untrusted, flow);
        let (o, out, later) = town.outlet(out, flow);
        // Either may come first.
        let parts = match flow % 2 {
            0 => vec![know, hear],
            _ => vec![hear, know],
        };
        let what = format!("{flow}: {p}, {u}, {o}");
        let ran = town.run(parts, out, later).await.context(what.clone())?;
        town.is_held(&ran).await.context(what.clone())?;
        ensure!(town.outlet.received().is_empty(), "{what}: it got out");
    }
    Ok(())
}

#[tokio::test]
async fn t24_what_has_one_label_alone_goes_its_way() -> anyhow::Result<()> {
    let mut town = Town::new().await?;
    let mut sent = 0;
    let ways = (0..Town::PRIVATE).map(|way| (true, way));
    let ways = ways.chain((0..Town::UNTRUSTED).map(|way| (false, way)));
    for (flow, (private, way)) in ways.enumerate() {
        let (what, part) = match private {
            true => town.private(way, flow),
            false => town.untrusted(way, flow),
        };
        let (o, out, later) = town.outlet(flow % Town::OUTLETS, flow);
        let what = format!("private {private}: {what}, {o}");
        let ran = town
            .run(vec![part], out, later)
            .await
            .context(what.clone())?;
        ensure!(ran.state() == Life::Succeeded, "{what}: {ran:?}");
        sent += 1;
        ensure!(
            town.outlet.received().len() == sent,
            "{what}: it did not get out"
        );
    }
    Ok(())
}
