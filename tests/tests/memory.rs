//! Spaces that agents and the operator share.

use nexus_proto::v1;
use nexus_tests::client::reason;
use nexus_tests::{Client, Host, probe};
use serde_json::{Value, json};
use tonic::Code;

/// A host with `writer`, which may write the space `notes`, and `reader`, which may read it.
async fn shared() -> anyhow::Result<(Host, Client)> {
    let host = Host::start()?;
    let mut client = host.operator().await?;
    client
        .deploy(&probe::component("writer", &[&probe::memory("notes")]))
        .await?;
    let reading = r#"memory = { space = "notes", access = "read" }"#;
    client
        .deploy(&probe::component("reader", &[reading]))
        .await?;
    Ok((host, client))
}

/// Runs calls on the space as an agent; the value of each.
async fn run(client: &mut Client, agent: &str, calls: &[Value]) -> anyhow::Result<Vec<Value>> {
    let access = if agent == "writer" {
        "read-write"
    } else {
        "read"
    };
    let mut steps =
        vec![json!({ "call": "memory.space.open", "name": "notes", "access": access, "as": "m" })];
    for call in calls {
        let mut call = call.clone();
        call["on"] = "m".into();
        let name = call["call"].as_str().unwrap_or_default();
        call["call"] = format!("memory.space.{name}").into();
        steps.push(call);
    }
    let output = client.output(agent, &json!(steps)).await?;
    let mut answers: Vec<Value> = serde_json::from_value(output)?;
    Ok(answers.split_off(1))
}

fn put(key: &str, value: &str) -> Value {
    json!({ "call": "put", "key": key, "value": value })
}

fn put_if(key: &str, value: &str, revision: &Value) -> Value {
    json!({ "call": "put-if", "key": key, "value": value, "revision": revision })
}

fn get(key: &str) -> Value {
    json!({ "call": "get", "key": key })
}

fn scan(prefix: &str, after: Value, limit: u32) -> Value {
    json!({ "call": "scan", "prefix": prefix, "after": after, "limit": limit })
}

fn keys(page: &Value) -> Vec<&str> {
    let entries = page["ok"]["entries"].as_array().into_iter().flatten();
    entries.filter_map(|entry| entry["key"].as_str()).collect()
}

#[tokio::test]
async fn revisions_grow_and_are_never_used_again() -> anyhow::Result<()> {
    let (_host, mut client) = shared().await?;
    let delete = json!({ "call": "delete", "key": "a" });
    let calls = [
        put("a", "1"),
        put("a", "2"),
        put("b", "3"),
        delete.clone(),
        get("a"),
        // Absent before as well: nothing to complain about.
        delete,
        put("a", "4"),
        get("a"),
    ];
    let answers = run(&mut client, "writer", &calls).await?;
    let revisions: Vec<_> = [0, 1, 2, 6]
        .iter()
        .filter_map(|&at| answers[at]["ok"].as_u64())
        .collect();
    assert_eq!(revisions.len(), 4, "{answers:?}");
    assert!(revisions.is_sorted_by(|a, b| a < b), "{revisions:?}");
    assert_eq!(answers[4], json!({ "ok": null }), "it was deleted");
    assert_eq!(answers[5], json!({ "ok": null }));
    assert_eq!(answers[7]["ok"]["value"], "4");
    assert_eq!(answers[7]["ok"]["revision"], revisions[3]);
    Ok(())
}

#[tokio::test]
async fn put_if_writes_only_what_nobody_has_changed() -> anyhow::Result<()> {
    let (_host, mut client) = shared().await?;
    let first = run(&mut client, "writer", &[put_if("k", "one", &Value::Null)]).await?;
    let revision = first[0]["ok"].clone();
    assert!(revision.is_u64(), "{first:?}");
    let calls = [
        put_if("k", "two", &Value::Null),
        put_if(
            "k",
            "two",
            &json!(revision.as_u64().unwrap_or_default() + 1),
        ),
        put_if("absent", "two", &revision),
        put_if("k", "two", &revision),
        put_if("k", "three", &revision),
        get("k"),
    ];
    let answers = run(&mut client, "writer", &calls).await?;
    for at in [0, 1, 2, 4] {
        assert_eq!(answers[at], json!({ "ok": null }), "{at}: {answers:?}");
    }
    assert!(answers[3]["ok"].as_u64() > revision.as_u64(), "{answers:?}");
    assert_eq!(answers[5]["ok"]["value"], "two");

    // Of many at once, one is the first.
    let mut racing = tokio::task::JoinSet::new();
    for number in 0..16 {
        let mut client = client.clone();
        let call = [put_if("race", &number.to_string(), &Value::Null)];
        racing.spawn(async move { run(&mut client, "writer", &call).await });
    }
    let mut winners = 0;
    while let Some(ended) = racing.join_next().await {
        winners += usize::from(ended??[0]["ok"].is_u64());
    }
    assert_eq!(winners, 1);
    Ok(())
}

#[tokio::test]
async fn a_scan_goes_through_all_keys_in_the_order_of_their_bytes() -> anyhow::Result<()> {
    let (_host, mut client) = shared().await?;
    let all = ["a/1", "a/10", "a/2", "a/B", "a/b", "a/é", "b"];
    let puts: Vec<_> = ["b", "a/é", "a/2", "a/10", "a/b", "a/1", "a/B"]
        .iter()
        .map(|key| put(key, key))
        .collect();
    run(&mut client, "writer", &puts).await?;
    let (mut seen, mut after) = (Vec::new(), Value::Null);
    loop {
        let page = run(&mut client, "reader", &[scan("a/", after, 2)]).await?;
        assert!(keys(&page[0]).len() <= 2, "{page:?}");
        seen.extend(keys(&page[0]).into_iter().map(str::to_owned));
        after = page[0]["ok"]["next"].clone();
        if after.is_null() {
            break;
        }
    }
    assert_eq!(seen, all[..6]);
    let calls = [
        scan("", Value::Null, 1000),
        scan("a/1", Value::Null, 10),
        scan("", json!("a/b"), 10),
        scan("c", Value::Null, 10),
        scan("", Value::Null, 0),
        scan("", Value::Null, 1001),
    ];
    let answers = run(&mut client, "reader", &calls).await?;
    assert_eq!(keys(&answers[0]), all);
    assert_eq!(keys(&answers[1]), ["a/1", "a/10"]);
    assert_eq!(keys(&answers[2]), ["a/é", "b"]);
    assert!(keys(&answers[3]).is_empty());
    assert_eq!(answers[4]["error"], "invalid");
    assert_eq!(answers[5]["error"], "invalid");
    Ok(())
}

#[tokio::test]
async fn agents_and_the_operator_see_one_another_s_entries() -> anyhow::Result<()> {
    let (host, mut client) = shared().await?;
    let name = "spaces/notes/entries/from/agent".to_owned();
    run(&mut client, "writer", &[put("from/agent", "hello")]).await?;
    let get_entry = v1::GetEntryRequest { name: name.clone() };
    let entry = client
        .memory
        .get_entry(get_entry.clone())
        .await?
        .into_inner();
    assert_eq!((entry.name, entry.value), (name, b"hello".to_vec()));

    let put_entry = v1::PutEntryRequest {
        name: "spaces/notes/entries/from/operator".to_owned(),
        value: b"good day".to_vec(),
        ..v1::PutEntryRequest::default()
    };
    client.memory.put_entry(put_entry).await?;
    let answers = run(&mut client, "reader", &[get("from/operator")]).await?;
    assert_eq!(answers[0]["ok"]["value"], "good day");
    // Whoever may only read does so.
    let answers = run(&mut client, "reader", &[put("from/reader", "x")]).await?;
    assert_eq!(answers[0]["error"], "forbidden");

    // And it is all there after the host was killed.
    let host = host.kill_and_restart()?;
    let mut client = host.operator().await?;
    assert_eq!(
        client.memory.get_entry(get_entry).await?.into_inner().value,
        b"hello"
    );
    let answers = run(&mut client, "reader", &[scan("", Value::Null, 10)]).await?;
    assert_eq!(keys(&answers[0]), ["from/agent", "from/operator"]);
    Ok(())
}

#[tokio::test]
async fn an_operator_overwrites_only_what_was_read() -> anyhow::Result<()> {
    let (_host, mut client) = shared().await?;
    let name = "spaces/notes/entries/plan".to_owned();
    let put_entry = |value: &str, etag: &str, create_only: bool| v1::PutEntryRequest {
        name: name.clone(),
        value: value.into(),
        etag: etag.to_owned(),
        create_only,
    };
    let first = client
        .memory
        .put_entry(put_entry("one", "", true))
        .await?
        .into_inner();
    let taken = client.memory.put_entry(put_entry("two", "", true)).await;
    assert_eq!(taken.expect_err("it is there").code(), Code::AlreadyExists);
    // An agent changes it in between.
    run(&mut client, "writer", &[put("plan", "agent's")]).await?;
    let stale = client
        .memory
        .put_entry(put_entry("two", &first.etag, false))
        .await;
    let stale = stale.expect_err("it has changed");
    assert_eq!(
        (stale.code(), reason(&stale).as_str()),
        (Code::Aborted, "STALE_ETAG")
    );
    let delete = |etag: &str| v1::DeleteEntryRequest {
        name: name.clone(),
        etag: etag.to_owned(),
    };
    let stale = client.memory.delete_entry(delete(&first.etag)).await;
    assert_eq!(stale.expect_err("it has changed").code(), Code::Aborted);

    let get_entry = v1::GetEntryRequest { name: name.clone() };
    let now = client
        .memory
        .get_entry(get_entry.clone())
        .await?
        .into_inner();
    assert_eq!(now.value, b"agent's");
    assert!(now.revision > first.revision && now.etag != first.etag);
    let two = client
        .memory
        .put_entry(put_entry("two", &now.etag, false))
        .await?
        .into_inner();
    client.memory.delete_entry(delete(&two.etag)).await?;
    let gone = client.memory.get_entry(get_entry).await;
    assert_eq!(gone.expect_err("deleted").code(), Code::NotFound);
    let stale = client.memory.delete_entry(delete(&two.etag)).await;
    assert_eq!(
        stale.expect_err("no longer the entry's").code(),
        Code::Aborted
    );
    client.memory.delete_entry(delete("")).await?;
    Ok(())
}

#[tokio::test]
async fn entries_are_listed_in_pages_and_bad_names_are_refused() -> anyhow::Result<()> {
    let (_host, mut client) = shared().await?;
    let puts: Vec<_> = (0..7).map(|n| put(&format!("k/{n}"), "v")).collect();
    run(&mut client, "writer", &puts).await?;
    let list = |page_token: String, prefix: &str| v1::ListEntriesRequest {
        parent: "spaces/notes".to_owned(),
        page_size: 3,
        page_token,
        prefix: prefix.to_owned(),
    };
    let (mut names, mut token) = (Vec::new(), String::new());
    loop {
        let page = client
            .memory
            .list_entries(list(token, "k/"))
            .await?
            .into_inner();
        names.extend(page.entries.into_iter().map(|entry| entry.name));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    let all: Vec<_> = (0..7)
        .map(|n| format!("spaces/notes/entries/k/{n}"))
        .collect();
    assert_eq!(names, all);
    let none = client
        .memory
        .list_entries(list(String::new(), "x"))
        .await?
        .into_inner();
    assert!(none.entries.is_empty());
    let bad = client
        .memory
        .list_entries(list("no token".to_owned(), ""))
        .await;
    assert_eq!(bad.expect_err("no token").code(), Code::InvalidArgument);

    let long = format!("spaces/notes/entries/{}", "k".repeat(513));
    for name in [
        "",
        "spaces/notes",
        "spaces/notes/entries/",
        "spaces/No tes/entries/k",
        "notes/k",
        &long,
    ] {
        let bad = client
            .memory
            .get_entry(v1::GetEntryRequest {
                name: name.to_owned(),
            })
            .await;
        assert_eq!(bad.expect_err(name).code(), Code::InvalidArgument, "{name}");
    }
    let large = v1::PutEntryRequest {
        name: "spaces/notes/entries/large".to_owned(),
        value: vec![b'x'; 1024 * 1024 + 1],
        ..v1::PutEntryRequest::default()
    };
    let large = client.memory.put_entry(large).await;
    assert_eq!(large.expect_err("too large").code(), Code::InvalidArgument);
    Ok(())
}
