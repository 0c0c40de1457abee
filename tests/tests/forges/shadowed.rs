//! Shadow runs: real reads, planned writes, and a person who decides on what was seen.

use nexus_proto::v1;
use nexus_proto::v1::forge_event::{Detail, Stage};
use nexus_tests::origin::Origin;
use nexus_tests::{Client, Host, client::reason};
use serde_json::json;
use tonic::Code;

use super::{agent, forging, manifest, rest};

/// Reads by GET and from memory, and changes whatever it may.
const SOURCE: &str = r#"use nexus_agent::prelude::*;
export!(invoke);
#[derive(Deserialize)]
struct Config { base: String }
fn invoke(input: Value) -> Result<Value> {
    let Config { base } = config::get()?;
    let price: Value = http::get(&format!("{base}/price"))?.json()?;
    let notes = memory::space("notes")?;
    let before: Option<u32> = notes.get_json("count")?;
    notes.put_json("count", &(before.unwrap_or(0) + 1))?;
    let after: Option<u32> = notes.get_json("count")?;
    http::post(&format!("{base}/orders")).json(&price).send()?;
    let query: Value = http::post(&format!("{base}/query")).json(&json!({ "method": "look" })).send()?.json()?;
    Ok(json!({ "price": price, "before": before, "after": after, "query": query, "input": input }))
}
"#;

fn request(base: &str, shadow: &[&str]) -> v1::ForgeAgentRequest {
    let more = format!(
        r#"config = {{ base = "{base}" }}
[[permission]]
http = {{ origin = "{base}", methods = ["GET", "POST"], paths = ["/price", "/orders"] }}
[[permission]]
http = {{ origin = "{base}", methods = ["POST"], paths = ["/query"], reads = [{{ pointer = "/method", values = ["look"] }}] }}
[[permission]]
memory = {{ space = "notes", access = "read-write" }}
"#
    );
    v1::ForgeAgentRequest {
        source: SOURCE.to_owned(),
        manifest: manifest("shaded", &more),
        shadow_inputs: shadow.iter().map(|input| (*input).to_owned()).collect(),
        ..forging("shaded")
    }
}

/// A service that counts what it is asked, and a host on which its reads are free to everybody.
async fn scene() -> anyhow::Result<(Origin, Host, Client, tempfile::TempDir)> {
    let origin = Origin::json(json!({ "eur": 12 })).await?;
    let directory = tempfile::tempdir()?;
    let policy = directory.path().join("policy.cedar");
    // Without the rule that the first use of an origin needs a person.
    let shipped = include_str!("../../../host/gate/policy/default.cedar");
    let first = shipped
        .find("// Where no person has seen the agent go")
        .unwrap();
    let next = shipped[first..]
        .find("// A key, or data under cover")
        .unwrap();
    std::fs::write(
        &policy,
        [&shipped[..first], &shipped[first + next..]].concat(),
    )?;
    let config = format!(
        "[egress]\nprivate_origins = [{:?}]\n[approvals]\npolicy = {policy:?}\n",
        origin.url()
    );
    let host = Host::builder().config(&config).start()?;
    let mut client = host.operator().await?;
    let put = v1::PutEntryRequest {
        name: "spaces/notes/entries/count".to_owned(),
        value: b"41".to_vec(),
        ..v1::PutEntryRequest::default()
    };
    client.memory.put_entry(put).await?;
    Ok((origin, host, client, directory))
}

async fn count(client: &mut Client) -> anyhow::Result<Vec<u8>> {
    let get = v1::GetEntryRequest {
        name: "spaces/notes/entries/count".to_owned(),
    };
    Ok(client.memory.get_entry(get).await?.into_inner().value)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_run_reads_for_real_writes_nothing_and_leaves_the_rest_to_a_person()
-> anyhow::Result<()> {
    let (origin, _host, mut client, _directory) = scene().await?;
    let base = origin.url();
    let stream = client.forge.forge_agent(request(&base, &["7"])).await?;
    let mut stream = stream.into_inner();
    let (mut runs, mut review) = (None, None);
    while let Some(event) = stream.message().await? {
        match event.detail.clone() {
            Some(Detail::Shadow(shadow)) => {
                assert_eq!(event.stage(), Stage::Shadow);
                runs = Some(shadow.runs);
            }
            Some(Detail::Review(asked)) => {
                review = Some(asked);
                break;
            }
            Some(Detail::Failure(why)) => panic!("{why}"),
            _ => {}
        }
    }
    let [run] = <[v1::ShadowRun; 1]>::try_from(runs.unwrap()).unwrap();
    assert_eq!(run.outcome, "success", "{run:?}");
    let answered: serde_json::Value = serde_json::from_str(&run.output)?;
    let expected =
        json!({ "price": { "eur": 12 }, "before": 41, "after": 42, "query": {}, "input": 7 });
    assert_eq!(answered, expected);
    let reads = [
        format!("http GET {base}/price: 200"),
        "memory get notes/count".to_owned(),
    ];
    assert_eq!(run.reads, reads);
    let planned = [
        "memory put notes/count 42".to_owned(),
        format!("http POST {base}/orders {{\"eur\":12}}"),
        // That this is a query is the manifest's word, which nobody has accepted yet.
        format!("http POST {base}/query {{\"method\":\"look\"}}"),
    ];
    assert_eq!(run.planned, planned);
    // The one read has reached the service, nothing else has happened.
    let received: Vec<_> = origin
        .received()
        .iter()
        .map(|one| format!("{} {}", one.method, one.target))
        .collect();
    assert_eq!(received, ["GET /price"]);
    assert_eq!(count(&mut client).await?, b"41");

    // Every read is in the trail, on behalf of who asked for the run, and marked.
    let trail = v1::ListEventsRequest {
        page_size: 1_000,
        agent: "agents/shaded".to_owned(),
        ..v1::ListEventsRequest::default()
    };
    let trail = client.audit.list_events(trail).await?.into_inner().events;
    let of_run = trail
        .iter()
        .filter(|event| event.detail.contains("\"shadow\":true"));
    let mut seen = 0;
    for event in of_run {
        assert_eq!(event.principal, "operator", "{event:?}");
        assert!(event.detail.contains("\"class\":\"read\""), "{event:?}");
        seen += 1;
    }
    assert!(seen >= 2, "{trail:?}");

    // Whoever decides sees all of it, and only then the agent is there.
    let approval = review.unwrap().approval;
    let shown = client.approval(&approval).await?.rendering;
    for line in reads.iter().chain(&planned) {
        assert!(
            shown.contains(&line.replace('"', "\\\"")) || shown.contains(line),
            "{line}\n{shown}"
        );
    }
    assert!(agent(&mut client, "shaded").await.is_err());
    client.decide(&approval, v1::Verdict::Approve).await?;
    let told = rest(stream).await?;
    assert!(
        matches!(told.last().unwrap().detail, Some(Detail::Published(_))),
        "{told:?}"
    );
    assert_eq!(agent(&mut client, "shaded").await?.generation, 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_free_needs_a_person_once_it_ran_and_a_read_that_asks_is_not_done()
-> anyhow::Result<()> {
    let origin = Origin::json(json!({ "eur": 12 })).await?;
    let base = origin.url();
    let config = format!("[egress]\nprivate_origins = [{base:?}]");
    let host = Host::builder().config(&config).start()?;
    let mut client = host.operator().await?;
    let source = format!(
        "use nexus_agent::prelude::*;\nexport!(invoke);\nfn invoke(_: Value) -> Result<Value> {{ Ok(http::get(\"{base}/price\")?.json()?) }}\n"
    );
    let more = format!(
        "[[permission]]\nhttp = {{ origin = \"{base}\", methods = [\"GET\"], paths = [\"/price\"] }}\n"
    );
    let free = |shadow: &[&str]| v1::ForgeAgentRequest {
        source: source.clone(),
        manifest: manifest("looker", &more),
        shadow_inputs: shadow.iter().map(|input| (*input).to_owned()).collect(),
        ..forging("looker")
    };
    // Nobody has seen this agent go there: the read would ask a person, and a shadow run asks nobody.
    let stream = client.forge.forge_agent(free(&["1"])).await?;
    let mut stream = stream.into_inner();
    let mut runs = Vec::new();
    let approval = loop {
        match stream.message().await?.unwrap().detail {
            Some(Detail::Shadow(shadow)) => runs = shadow.runs,
            Some(Detail::Review(review)) => break review.approval,
            Some(Detail::Failure(why)) => panic!("{why}"),
            Some(Detail::Published(_)) => panic!("it is live, and nobody was asked"),
            _ => {}
        }
    };
    assert!(runs[0].reads.is_empty(), "{runs:?}");
    let refused = format!("not done: http GET {base}/price");
    assert!(runs[0].planned[0].starts_with(&refused), "{runs:?}");
    assert!(origin.received().is_empty());
    let asked = client.approval(&approval).await?;
    let rule = "gate:shadow-run";
    assert!(asked.policies.iter().any(|id| id == rule), "{asked:?}");
    client.decide(&approval, v1::Verdict::Deny).await?;
    rest(stream).await?;
    assert!(agent(&mut client, "looker").await.is_err());

    for (wrong, root) in [
        (vec!["no json"], v1::RootOrigin::Unspecified),
        (vec!["1"; 9], v1::RootOrigin::Unspecified),
        (vec!["1"], v1::RootOrigin::Ingest),
    ] {
        let request = v1::ForgeAgentRequest {
            root_origin: root.into(),
            ..free(&wrong)
        };
        let refused = client.forge.forge_agent(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        assert_eq!(reason(&refused), "INVALID_FIELD");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_to_an_agent_s_interface_is_a_way_around_a_shadow_run() -> anyhow::Result<()> {
    let (origin, host, mut client, _directory) = scene().await?;
    let base = origin.url();
    // Dry, too, it tells what it did, and nobody is asked.
    let request = v1::ForgeAgentRequest {
        validate_only: true,
        ..request(&base, &["1", "2"])
    };
    let told = rest(client.forge.forge_agent(request).await?.into_inner()).await?;
    let runs = told.iter().find_map(|event| match &event.detail {
        Some(Detail::Shadow(shadow)) => Some(shadow.runs.clone()),
        _ => None,
    });
    // What one run writes, the next does not find.
    for run in runs.unwrap() {
        let output: serde_json::Value = serde_json::from_str(&run.output)?;
        assert_eq!(output["before"], 41, "{run:?}");
    }
    assert!(matches!(
        told.last().unwrap().detail,
        Some(Detail::NotPublished(_))
    ));
    let open = client
        .approvals
        .list_approvals(v1::ListApprovalsRequest::default())
        .await?;
    assert!(open.into_inner().approvals.is_empty());

    // With hot reload off a person decides all the same before it is kept.
    let off = v1::SetHotReloadRequest { enabled: false };
    client.forge.set_hot_reload(off).await?;
    let mut stream = client
        .forge
        .forge_agent(self::request(&base, &["1"]))
        .await?
        .into_inner();
    let approval = loop {
        if let Some(Detail::Review(review)) = stream.message().await?.unwrap().detail {
            break review.approval;
        }
    };
    client.decide(&approval, v1::Verdict::Deny).await?;
    rest(stream).await?;
    let triggered = host.nexus(&["forge", "trigger", "shaded"])?;
    assert!(!triggered.status.success());
    assert!(agent(&mut client, "shaded").await.is_err());
    assert_eq!(count(&mut client).await?, b"41");
    Ok(())
}
