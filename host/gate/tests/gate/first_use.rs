//! What an agent has been let do before: the memory behind `first_use`.

use std::collections::BTreeSet;
use std::sync::Arc;

use nexus_gate::kind::{BusCall, Http};
use nexus_gate::{Action, Callee, Context, Policy, Principal, Refusal, State, Verdict};
use nexus_manifest::{Digest, Manifest};
use nexus_store::Commit;
use serde_json::json;
use tempfile::TempDir;

use crate::house::{House, MANIFEST, action, alice};

fn context(action: &mut Action) -> &mut Context {
    Arc::get_mut(&mut action.context).unwrap()
}

/// A read by an agent whose manifest nobody has read.
fn read(target: &str) -> Action {
    let mut read = action("http", "GET", target);
    context(&mut read).reviewed = false;
    read
}

fn price() -> Action {
    read("https://api.example.com/v1/price")
}

/// The same by another component, with other permissions.
fn by(mut action: Action, component: &[u8], manifest: &str) -> Action {
    let context = context(&mut action);
    context.component = Digest::of(component);
    context.manifest = Arc::new(Manifest::parse(manifest).unwrap());
    action
}

fn first(house: &House, action: &Action) -> bool {
    house.gate.explain(action.clone()).facts.first_use
}

/// Goes through without anybody being asked.
async fn free(house: &House, action: Action) {
    assert!(!first(house, &action));
    let permit = house.gate.check::<Http>(action, &()).await.unwrap();
    assert!(permit.approval().is_none());
}

/// Is asked about, and happens once a person has said yes.
async fn asked(house: &mut House, action: Action) {
    assert!(first(house, &action));
    let payload = action.payload.clone();
    let (waiting, asked) = house.ask(action).await;
    assert!(
        asked
            .policies
            .contains(&"first-use-needs-a-person".to_owned()),
        "{:?}",
        asked.policies
    );
    house.approve(asked.id).await;
    drop(waiting.await.unwrap().unwrap().start(&payload).await);
}

#[tokio::test]
async fn an_origin_is_asked_about_until_a_person_says_yes() {
    let mut house = House::new().await;
    let (waiting, asked_first) = house.ask(price()).await;
    let deny = Verdict::Deny;
    let alice = alice();
    let decided = house.gate.decide(asked_first.id, deny, None, &alice);
    decided.await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap_err(), Refusal::Denied(None));
    // A no is no acquaintance, nor is a yes that was not used.
    let (waiting, unused) = house.ask(price()).await;
    house.approve(unused.id).await;
    drop(waiting.await.unwrap().unwrap());
    asked(&mut house, price()).await;
    free(&house, price()).await;
    free(&house, read("https://api.example.com/v1/elsewhere")).await;
    // Another origin is another place, and another agent another guest.
    assert!(first(&house, &read("http://127.0.0.1:8080/price")));
    let mut other = price();
    context(&mut other).agent = "other".parse().unwrap();
    assert!(first(&house, &other));
}

#[tokio::test]
async fn what_is_known_outlives_a_restart_and_saved_files_but_no_new_powers() {
    let dir = TempDir::new().unwrap();
    let mut house = House::at(dir.path(), |_| ()).await;
    asked(&mut house, price()).await;
    house.close().await;
    let mut house = House::at(dir.path(), |_| ()).await;
    free(&house, price()).await;
    free(&house, by(price(), b"saved", MANIFEST)).await;
    let less = MANIFEST.replace("[[permission]]\npeer = { tag = \"finance\" }\n", "");
    assert_ne!(less, MANIFEST);
    free(&house, by(price(), b"less", &less)).await;
    let more = MANIFEST.replace(
        "\"facts\", access = \"read\"",
        "\"facts\", access = \"read-write\"",
    );
    assert_ne!(more, MANIFEST);
    asked(&mut house, by(price(), b"more", &more)).await;
    free(&house, by(price(), b"more", &more)).await;
}

#[tokio::test]
async fn what_a_person_has_accepted_at_publication_is_known() {
    let house = House::new().await;
    free(
        &house,
        action("http", "GET", "https://api.example.com/v1/price"),
    )
    .await;
    assert!(first(&house, &price()));
    // Also for a later component that nobody has looked at.
    let accepted = action("http", "GET", "https://api.example.com/v1/price").context;
    let mut commit = Commit::new();
    let (agent, manifest) = (&accepted.agent, &accepted.manifest);
    let known = house
        .gate
        .introduce(&mut commit, agent, accepted.component, manifest);
    assert!(first(&house, &price()));
    house.gate.introduced(known);
    free(&house, by(price(), b"saved", MANIFEST)).await;
    // One that takes the name of an agent that is no more is a stranger.
    let mut commit = Commit::new();
    house.gate.forget(&mut commit, agent);
    house.gate.forgotten(agent);
    assert_ne!(commit, Commit::new());
    assert!(first(&house, &price()));
}

#[tokio::test]
async fn a_policy_that_asks_nobody_makes_nobody_known() {
    let house = House::under("permit (principal, action, resource);").await;
    let price = price();
    let permit = house.gate.check::<Http>(price.clone(), &()).await.unwrap();
    drop(permit.start(&price.payload).await.unwrap());
    assert!(first(&house, &price));
    house.set_policy(Policy::shipped()).await;
    assert!(first(&house, &price));
}

fn callee(component: &[u8], owner: &str, permissions: &[&str]) -> Callee {
    Callee {
        component: Digest::of(component),
        owner: Principal::new(owner),
        permissions: permissions
            .iter()
            .map(ToString::to_string)
            .collect::<BTreeSet<_>>(),
    }
}

fn call(peer: &str, tags: &[&str], callee: &Callee) -> Action {
    let mut call = action("bus", "call", peer);
    call.payload.fields = json!({ "tags": tags, "callee": callee });
    call.payload = call.payload.with_part("input", "application/json", "{}");
    call
}

async fn called(house: &House, call: &Action) {
    assert!(!first(house, call));
    let permit = house.gate.check::<BusCall>(call.clone(), &()).await;
    drop(permit.unwrap().start(&call.payload).await.unwrap());
}

async fn asked_and_called(house: &mut House, call: &Action) {
    assert!(first(house, call));
    let waiting = house.bring::<BusCall>(call.clone());
    let asked = house.next(State::Pending).await;
    house.approve(asked.id).await;
    drop(waiting.await.unwrap().unwrap().start(&call.payload).await);
}

#[tokio::test]
async fn a_peer_by_its_tag_is_met_with_a_person_and_pinned() {
    let dir = TempDir::new().unwrap();
    let mut house = House::at(dir.path(), |_| ()).await;
    let tags = ["finance"];
    let bank = |callee: &Callee| call("bank", &tags, callee);
    let agreed = callee(b"1", "carol", &["memory a (read)", "memory b (read)"]);
    asked_and_called(&mut house, &bank(&agreed)).await;
    called(&house, &bank(&agreed)).await;
    house.close().await;
    let mut house = House::at(dir.path(), |_| ()).await;
    // Its owner's next version that may do no more.
    called(&house, &bank(&callee(b"2", "carol", &["memory a (read)"]))).await;
    let wider = bank(&callee(b"3", "carol", &["memory a (read)", "peer mallory"]));
    let taken = bank(&callee(b"4", "mallory", &["memory a (read)"]));
    assert!(first(&house, &wider) && first(&house, &taken));
    // Another one with the same tag.
    assert!(first(&house, &call("cashier", &tags, &agreed)));
    asked_and_called(&mut house, &wider).await;
    called(&house, &wider).await;
    assert!(first(&house, &taken));
}

#[tokio::test]
async fn a_peer_by_its_name_is_known_until_it_becomes_something_else() {
    let mut house = House::new().await;
    let notifier = |callee: &Callee| call("notifier", &[], callee);
    let agreed = callee(b"1", "carol", &["memory a (read)"]);
    called(&house, &notifier(&agreed)).await;
    called(&house, &notifier(&callee(b"2", "carol", &[]))).await;
    let wider = notifier(&callee(b"3", "carol", &["peer mallory"]));
    let taken = notifier(&callee(b"4", "mallory", &[]));
    assert!(first(&house, &wider));
    asked_and_called(&mut house, &taken).await;
    called(&house, &taken).await;
    assert!(first(&house, &notifier(&agreed)));
}
