//! T26: agents that call each other in circles, in fans and in chains without end.

use nexus_proto::v1;
use nexus_tests::{Client, Host, guests};
use serde_json::{Value, json};

use super::support::ending;

/// Calls of one chain, all its branches together.
const BUDGET: usize = 256;

/// The guest `caller` under another name, which may call these peers.
fn caller(name: &str, peers: &[&str]) -> Vec<u8> {
    let mut manifest = format!(
        "format = 1\nname = {name:?}\nversion = \"0.1.0\"\nsummary = \"Calls\"\ntags = [\"test\"]\n"
    );
    for peer in peers {
        manifest.push_str(&format!("[[permission]]\npeer = {{ agent = {peer:?} }}\n"));
    }
    guests::with_manifest("caller", &manifest)
}

async fn stage(agents: &[(&str, &[&str])]) -> anyhow::Result<(Host, Client)> {
    let host = Host::start()?;
    let mut client = host.operator().await?;
    client.deploy(&guests::component("callee")).await?;
    for (name, peers) in agents {
        client.deploy(&caller(name, peers)).await?;
    }
    Ok((host, client))
}

fn call(verb: &str, peer: &str, input: Value) -> Value {
    json!({ "do": verb, "peer": peer, "input": input })
}

fn fan(peer: &str, input: Value, times: usize) -> Value {
    json!({ "do": "fan", "peer": peer, "input": input, "times": times })
}

fn greet() -> Value {
    json!({ "do": "greet", "name": "anna" })
}

/// How many invocations there were.
async fn count(client: &mut Client) -> anyhow::Result<usize> {
    let mut request = v1::ListInvocationsRequest {
        page_size: 1_000,
        ..v1::ListInvocationsRequest::default()
    };
    let mut count = 0;
    loop {
        let page = client.invocations.list_invocations(request.clone()).await?;
        let page = page.into_inner();
        count += page.invocations.len();
        if page.next_page_token.is_empty() {
            return Ok(count);
        }
        request.page_token = page.next_page_token;
    }
}

#[tokio::test]
async fn t26_an_agent_that_calls_itself_is_refused() -> anyhow::Result<()> {
    let (_host, mut client) = stage(&[("narcissus", &["narcissus"])]).await?;
    let input = call("try", "narcissus", json!({ "do": "peers" }));
    let output = client.output("narcissus", &input).await?;
    assert_eq!(output, json!({ "error": "forbidden" }));
    assert_eq!(count(&mut client).await?, 1);
    Ok(())
}

#[tokio::test]
async fn t26_a_circle_of_agents_that_wait_for_each_other_is_refused() -> anyhow::Result<()> {
    let (_host, mut client) = stage(&[
        ("left", &["right"]),
        ("right", &["third"]),
        ("third", &["left"]),
    ])
    .await?;
    let back = call(
        "try",
        "left",
        call("call", "right", json!({ "do": "peers" })),
    );
    let input = call("call", "right", call("call", "third", back));
    let output = client.output("left", &input).await?;
    assert_eq!(output, json!({ "error": "forbidden" }));
    assert_eq!(count(&mut client).await?, 3);
    Ok(())
}

#[tokio::test]
async fn t26_a_chain_ends_at_eight_agents() -> anyhow::Result<()> {
    let names: Vec<String> = (1..=12).map(|number| format!("link-{number}")).collect();
    let host = Host::start()?;
    let mut client = host.operator().await?;
    for pair in names.windows(2) {
        client.deploy(&caller(&pair[0], &[&pair[1]])).await?;
    }
    let mut input = json!({ "do": "peers" });
    for name in names[1..11].iter().rev() {
        input = call("call", name, input);
    }
    let ended = client.invoke("link-1", &input).await?;
    assert_eq!(ending(&ended), "failure exhausted", "{ended:?}");
    assert_eq!(count(&mut client).await?, 8);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn t26_a_storm_of_fans_ends_at_the_budget_of_its_chain() -> anyhow::Result<()> {
    let (mut host, mut client) = stage(&[
        ("first", &["second"]),
        ("second", &["third"]),
        ("third", &["callee"]),
    ])
    .await?;
    // 32 x 32 x 32 calls, if nothing ended it.
    let storm = fan("second", fan("third", fan("callee", greet(), 32), 32), 32);
    let ended = client.invoke("first", &storm).await?;
    assert_eq!(ending(&ended), "failure exhausted", "{ended:?}");
    let called = count(&mut client).await?;
    assert!(called <= 1 + BUDGET, "{called} invocations");
    let wide = client.invoke("third", &fan("callee", greet(), 33)).await?;
    assert_eq!(ending(&wide), "failure exhausted", "{wide:?}");
    // Each chain has a budget of its own.
    let output = client.output("third", &fan("callee", greet(), 32)).await?;
    assert_eq!(output.as_array().map(Vec::len), Some(32));
    assert!(host.is_running());
    Ok(())
}

#[tokio::test]
async fn t26_a_diamond_answers_and_counts_each_of_its_calls() -> anyhow::Result<()> {
    let (_host, mut client) = stage(&[
        ("top", &["left", "right"]),
        ("left", &["callee"]),
        ("right", &["callee"]),
    ])
    .await?;
    for side in ["left", "right"] {
        let input = call("call", side, fan("callee", greet(), 2));
        let output = client.output("top", &input).await?;
        assert_eq!(output, json!(vec![json!({ "greeting": "hello, anna" }); 2]));
    }
    // Two of the top, one of each side, two of the bottom for each side.
    assert_eq!(count(&mut client).await?, 8);
    Ok(())
}
