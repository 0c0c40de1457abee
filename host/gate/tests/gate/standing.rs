//! A person's word that holds for later actions: never for more than was shown, never below the floor.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use nexus_audit::EventKind;
use nexus_gate::kind::{Http, MemoryRead};
use nexus_gate::{
    Action, Approval, DecideError, Decision, EffectClass, GrantFilter, Label, MAX_GRANT_MS,
    MAX_GRANT_USES, Principal, Refusal, Remember, RevokeError, RootOrigin, StandingGrant,
    StartError, State, Verdict,
};
use nexus_manifest::{Digest, Manifest};
use nexus_store::{Scan, Store, Table};
use tempfile::TempDir;

use crate::binding::Approvers;
use crate::house::{House, MANIFEST, action, alice, order, order_of};

fn remember(suggestion: usize) -> Remember {
    Remember {
        suggestion,
        any_component: false,
        lifetime_ms: None,
        uses: None,
    }
}

/// A call of an endpoint that does what its body says.
fn rpc(method: &str, more: &str) -> Action {
    let mut rpc = action("http", "POST", "https://api.example.com/v1/rpc");
    let body = format!(r#"{{"method":"{method}","params":[{more}]}}"#);
    rpc.payload = rpc.payload.with_part("body", "application/json", body);
    rpc
}

/// Brings an action, has it decided, and gives back the question.
async fn decided(house: &mut House, action: Action, decision: Decision) -> Approval {
    let payload = action.payload.clone();
    let (waiting, asked) = house.ask(action).await;
    let yes = decision.verdict == Verdict::Approve;
    house
        .gate
        .decide(asked.id, decision, None, &alice())
        .await
        .unwrap();
    let permit = waiting.await.unwrap();
    assert_eq!(permit.is_ok(), yes);
    if let Ok(permit) = permit {
        drop(permit.start(&payload).await.unwrap());
    }
    asked
}

async fn allow(house: &mut House, action: Action, suggestion: usize) -> StandingGrant {
    let yes = Decision::from(Verdict::Approve).remembered(remember(suggestion));
    decided(house, action, yes).await;
    house.gate.grants(&GrantFilter::default()).pop().unwrap()
}

/// Whether a person is asked about it.
async fn is_asked(house: &mut House, action: Action) -> bool {
    let payload = action.payload.clone();
    let mut waiting = house.bring::<Http>(action);
    tokio::select! {
        permit = &mut waiting => {
            drop(permit.unwrap().unwrap().start(&payload).await.unwrap());
            false
        }
        asked = house.next(State::Pending) => {
            waiting.abort();
            while house.next(State::Cancelled).await.id != asked.id {}
            true
        }
    }
}

#[tokio::test]
async fn a_remembered_yes_answers_the_same_again_and_the_trail_names_it() {
    let mut house = House::new().await;
    let grant = allow(&mut house, order(), 1).await;
    assert_eq!((grant.uses, grant.uses_left), (0, 100));
    assert!(grant.expires_ms > grant.created_ms);
    assert!(!is_asked(&mut house, order()).await);
    let used = house.gate.grants(&GrantFilter::default()).remove(0);
    assert_eq!((used.uses, used.uses_left), (1, 99));
    let events = house.events().await;
    let named = events.iter().filter(|record| {
        record.event.kind == EventKind::EffectStarted
            && record.event.detail["grant"] == grant.id.to_string()
            && record.event.approval.is_none()
    });
    assert_eq!(named.count(), 1);
    let created = events
        .iter()
        .find(|record| record.event.kind == EventKind::GrantCreated)
        .unwrap();
    assert_eq!(created.event.principal.as_deref(), Some("alice"));
}

#[tokio::test]
async fn what_differs_from_what_was_shown_is_asked() {
    let mut house = House::new().await;
    allow(&mut house, order(), 1).await;
    type Change = fn(&mut Action);
    let changes: [(&str, Change); 9] = [
        ("target", |a| a.target.push_str("?x=1")),
        ("body", |a| a.payload.parts[0].bytes = "{}".into()),
        ("type", |a| {
            a.payload.parts[0].media_type = "text/plain".into()
        }),
        ("headers", |a| {
            a.payload.fields["headers"][0][1] = "x".into()
        }),
        ("component", |a| context(a).component = Digest::of(b"next")),
        ("person", |a| context(a).principal = Principal::new("bob")),
        ("origin", |a| context(a).root = RootOrigin::Mcp),
        ("chain", |a| context(a).chain.push("boss".parse().unwrap())),
        ("labels", |a| a.labels.extend([Label::Untrusted])),
    ];
    for (what, change) in changes {
        let mut other = order();
        change(&mut other);
        assert!(is_asked(&mut house, other).await, "{what}");
    }
    let mut other = order();
    context(&mut other).agent = "another".parse().unwrap();
    assert!(is_asked(&mut house, other).await, "agent");
    assert!(!is_asked(&mut house, order()).await);
}

fn context(action: &mut Action) -> &mut nexus_gate::Context {
    Arc::make_mut(&mut action.context)
}

#[tokio::test]
async fn where_the_body_decides_the_grant_says_which() {
    let mut house = House::new().await;
    let yes = Decision::from(Verdict::Approve).remembered(remember(2));
    let asked = decided(&mut house, rpc("place_order", "1"), yes).await;
    let lines: Vec<_> = asked
        .suggestions
        .iter()
        .map(|scope| scope.summary())
        .collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[1].contains(r#"/method of the body is "place_order""#));
    assert!(!is_asked(&mut house, rpc("place_order", "2")).await);
    assert!(is_asked(&mut house, rpc("withdraw", "1")).await);
    // What two parsers could read differently is not what was shown.
    let mut twice = rpc("place_order", "1");
    twice.payload.parts[0].bytes = r#"{"method":"place_order","method":"withdraw"}"#.into();
    assert!(is_asked(&mut house, twice).await);
    let mut neighbour = rpc("place_order", "2");
    neighbour.target = "https://api.example.com/v1/rpc2".to_owned();
    assert!(is_asked(&mut house, neighbour).await);
}

#[tokio::test]
async fn a_child_is_one_segment_below_and_nothing_else() {
    let mut house = House::new().await;
    let at = |path: &str| {
        let mut post = action("http", "POST", &format!("https://api.example.com{path}"));
        post.target = format!("https://api.example.com{path}");
        post
    };
    let yes = Decision::from(Verdict::Approve).remembered(remember(2));
    let asked = decided(&mut house, at("/v1/orders/1"), yes).await;
    assert_eq!(asked.suggestions.len(), 2);
    assert!(!is_asked(&mut house, at("/v1/orders/2")).await);
    for path in [
        "/v1/orders/2/cancel",
        "/v1/orders/2?x=1",
        "/v1/orders/",
        "/v1/users/1",
    ] {
        assert!(is_asked(&mut house, at(path)).await, "{path}");
    }
}

#[tokio::test]
async fn a_grant_ends_with_its_uses_its_time_and_its_withdrawal() {
    let mut house = House::new().await;
    let twice = Remember {
        uses: Some(2),
        ..remember(1)
    };
    let yes = Decision::from(Verdict::Approve).remembered(twice);
    decided(&mut house, order(), yes.clone()).await;
    assert!(!is_asked(&mut house, order()).await);
    assert!(!is_asked(&mut house, order()).await);
    assert!(is_asked(&mut house, order()).await, "two uses are two");
    assert!(house.gate.grants(&GrantFilter::default()).is_empty());

    let short = Remember {
        lifetime_ms: Some(1),
        ..remember(1)
    };
    let yes_short = Decision::from(Verdict::Approve).remembered(short);
    decided(&mut house, order(), yes_short).await;
    while !house.gate.grants(&GrantFilter::default()).is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(is_asked(&mut house, order()).await, "its time is up");

    decided(&mut house, order(), yes).await;
    let grant = house.gate.grants(&GrantFilter::default()).remove(0);
    // Withdrawn between the permit and its start: nothing starts.
    let permit = house.gate.check::<Http>(order(), &()).await.unwrap();
    house.gate.revoke_grant(grant.id, &alice()).await.unwrap();
    let started = house.count(EventKind::EffectStarted).await;
    assert_eq!(
        permit.start(&order().payload).await.unwrap_err(),
        StartError::GrantGone(grant.id)
    );
    assert_eq!(house.count(EventKind::EffectStarted).await, started);
    assert!(is_asked(&mut house, order()).await);
    assert_eq!(
        house.gate.revoke_grant(grant.id, &alice()).await,
        Err(RevokeError::NotFound(grant.id))
    );
    assert_eq!(house.count(EventKind::GrantDeleted).await, 1);
}

#[tokio::test]
async fn a_grant_whose_time_is_over_leaves_the_disk_with_the_next_start() {
    let dir = TempDir::new().unwrap();
    let mut house = House::at(dir.path(), |_| ()).await;
    for lifetime_ms in [Some(1), None] {
        let remembered = Remember {
            lifetime_ms,
            ..remember(1)
        };
        let yes = Decision::from(Verdict::Approve).remembered(remembered);
        decided(
            &mut house,
            order_of(usize::from(lifetime_ms.is_some())),
            yes,
        )
        .await;
    }
    let rows = async |house: &House| {
        let mut rows = 0;
        for table in ["standing_grants", "standing_grant_scopes"] {
            rows += house
                .disk
                .scan(Table(table), Scan::default())
                .await
                .unwrap()
                .len();
        }
        rows
    };
    assert_eq!(rows(&house).await, 4);
    while house.gate.grants(&GrantFilter::default()).len() > 1 {
        tokio::task::yield_now().await;
    }
    house.close().await;
    let house = House::at(dir.path(), |_| ()).await;
    assert_eq!(rows(&house).await, 2);
    assert_eq!(house.gate.grants(&GrantFilter::default()).len(), 1);
    assert_eq!(house.count(EventKind::GrantDeleted).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uses_are_counted_however_many_race() {
    let mut house = House::new().await;
    let ten = Remember {
        uses: Some(10),
        ..remember(1)
    };
    let yes = Decision::from(Verdict::Approve).remembered(ten);
    decided(&mut house, order(), yes).await;
    let before = house.count(EventKind::EffectStarted).await;
    let racers: Vec<_> = (0..64)
        .map(|_| {
            let gate = house.gate.clone();
            tokio::spawn(async move {
                match gate.check::<Http>(order(), &()).await {
                    Ok(permit) => permit.start(&order().payload).await.is_ok(),
                    Err(_) => false,
                }
            })
        })
        .collect();
    // Ten are answered; each of the others becomes a question.
    let mut all = futures::future::join_all(racers);
    let started = loop {
        tokio::select! {
            ended = &mut all => break ended.into_iter().filter(|won| *won.as_ref().unwrap()).count(),
            change = house.changes.recv() => {
                let change = change.unwrap();
                if matches!(change.state, State::Pending | State::Queued) {
                    // It may have been decided already, as a queued one is announced twice.
                    let _ = house.gate.decide(change.id, Verdict::Deny, None, &alice()).await;
                }
            }
        }
    };
    assert_eq!(started, 10);
    let after = house.count(EventKind::EffectStarted).await;
    assert_eq!(after - before, 10);
}

#[tokio::test]
async fn a_remembered_no_answers_with_its_reason_and_goes_before_a_yes() {
    let mut house = House::new().await;
    allow(&mut house, rpc("place_order", "1"), 2).await;
    let no = Decision::from(Verdict::Deny)
        .because("never on this account")
        .remembered(remember(1));
    // The yes would have answered it; what it does not cover is denied for good.
    decided(&mut house, rpc("withdraw", "1"), no).await;
    let refused = house.gate.check::<Http>(rpc("withdraw", "1"), &()).await;
    assert_eq!(
        refused.unwrap_err(),
        Refusal::Denied(Some("never on this account".to_owned()))
    );
    assert!(!is_asked(&mut house, rpc("place_order", "9")).await);
    let grants = house.gate.grants(&GrantFilter::default());
    assert_eq!(grants.iter().map(|grant| grant.uses).sum::<u32>(), 2);
}

#[tokio::test]
async fn t30_no_grant_reaches_below_the_floor() {
    let mut house = House::new().await;
    let mut payment = order();
    payment.class = EffectClass::Irreversible;
    let labels = [Label::Untrusted, Label::Private];
    let mut leak = order();
    leak.labels.extend(labels);
    for action in [payment.clone(), leak] {
        let (waiting, asked) = house.ask(action).await;
        assert!(asked.never_remembered().is_some());
        let yes = Decision::from(Verdict::Approve).remembered(remember(1));
        let refused = house.gate.decide(asked.id, yes, None, &alice()).await;
        assert!(
            matches!(refused, Err(DecideError::NotRemembered(_))),
            "{refused:?}"
        );
        assert_eq!(house.approval(asked.id).await.state, State::Pending);
        waiting.abort();
        house.next(State::Cancelled).await;
    }
    // A grant for the harmless twin does not lift it either.
    allow(&mut house, order(), 1).await;
    assert!(is_asked(&mut house, payment).await);
    // Where two people are needed, one person's standing yes is not two.
    let four_eyes =
        r#"@id("four-eyes") permit (principal, action, resource) when { context.approvals >= 2 };"#;
    house
        .set_policy(nexus_gate::Policy::parse(four_eyes).unwrap())
        .await;
    assert!(is_asked(&mut house, order()).await);
    // And what policy forbids stays forbidden.
    let nothing = nexus_gate::Policy::parse("").unwrap();
    house.set_policy(nothing).await;
    let refused = house.gate.check::<Http>(order(), &()).await.unwrap_err();
    assert!(matches!(refused, Refusal::Forbidden(_)));
}

#[tokio::test]
async fn more_power_voids_what_was_given_for_less() {
    let mut house = House::new().await;
    let any = Remember {
        any_component: true,
        ..remember(1)
    };
    let yes = Decision::from(Verdict::Approve).remembered(any);
    decided(&mut house, order(), yes).await;
    let next = |manifest: &str| {
        let mut next = order();
        context(&mut next).component = Digest::of(b"next");
        context(&mut next).manifest = Arc::new(Manifest::parse(manifest).unwrap());
        next
    };
    assert!(
        !is_asked(&mut house, next(MANIFEST)).await,
        "no more than before"
    );
    let wider =
        format!("{MANIFEST}\n[[permission]]\nmemory = {{ space = \"new\", access = \"read\" }}\n");
    assert!(is_asked(&mut house, next(&wider)).await);
    // For good: the old component has lost it, too.
    while house.count(EventKind::GrantDeleted).await == 0 {
        tokio::task::yield_now().await;
    }
    assert!(is_asked(&mut house, order()).await);
}

#[tokio::test]
async fn what_was_given_to_an_agent_ends_with_it_and_with_its_owner() {
    for ends in ["removed", "taken over"] {
        let dir = TempDir::new().unwrap();
        let mut house = House::at(dir.path(), |_| ()).await;
        let any = Remember {
            any_component: true,
            ..remember(1)
        };
        let yes = Decision::from(Verdict::Approve).remembered(any);
        decided(&mut house, order(), yes).await;
        assert!(!is_asked(&mut house, order()).await, "{ends}");
        let agent = order().context.agent.clone();
        let mut commit = nexus_store::Commit::new();
        match ends {
            "removed" => house.gate.forget(&mut commit, &agent),
            _ => house.gate.void_grants(&mut commit, &agent, ends),
        }
        nexus_store::Store::commit(&*house.disk, commit)
            .await
            .unwrap();
        match ends {
            "removed" => house.gate.forgotten(&agent),
            _ => house.gate.grants_voided(&agent),
        }
        assert_eq!(house.count(EventKind::GrantDeleted).await, 1, "{ends}");
        assert!(is_asked(&mut house, order()).await, "{ends}");
        house.close().await;
        let mut house = House::at(dir.path(), |_| ()).await;
        assert!(is_asked(&mut house, order()).await, "{ends}, and a restart");
    }
}

#[tokio::test]
async fn grants_outlive_a_restart_and_a_damaged_one_asks() {
    let dir = TempDir::new().unwrap();
    let mut house = House::at(dir.path(), |_| ()).await;
    allow(&mut house, order(), 1).await;
    house.close().await;
    let mut house = House::at(dir.path(), |_| ()).await;
    assert!(!is_asked(&mut house, order()).await);
    let grant = house.gate.grants(&GrantFilter::default()).remove(0);
    assert_eq!(grant.uses, 1);
    let mut commit = nexus_store::Commit::new();
    let scopes = nexus_store::Table("standing_grant_scopes");
    commit.put(scopes, grant.id.to_string(), b"other".to_vec());
    nexus_store::Store::commit(&*house.disk, commit)
        .await
        .unwrap();
    house.close().await;
    let mut house = House::at(dir.path(), |_| ()).await;
    assert!(
        is_asked(&mut house, order()).await,
        "what does not read answers nothing"
    );
}

#[tokio::test]
async fn t30_a_use_that_cannot_be_counted_does_not_happen() {
    let mut house = House::new().await;
    allow(&mut house, order(), 1).await;
    let permit = house.gate.check::<Http>(order(), &()).await.unwrap();
    house.disk.break_down();
    let refused = permit.start(&order().payload).await;
    assert!(
        matches!(refused, Err(StartError::Unavailable(_))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_read_that_a_grant_answers_is_counted() {
    let asked =
        r#"@id("asked") permit (principal, action, resource) when { context.approvals >= 1 };"#;
    let mut house = House::under(asked).await;
    let read = || action("memory", "get", "kb-08/x");
    let waiting = house.bring::<MemoryRead>(read());
    let question = house.next(State::Pending).await;
    let yes = Decision::from(Verdict::Approve).remembered(remember(1));
    house
        .gate
        .decide(question.id, yes, None, &alice())
        .await
        .unwrap();
    waiting
        .await
        .unwrap()
        .unwrap()
        .read(&read().payload)
        .await
        .unwrap();
    let permit = house.gate.check::<MemoryRead>(read(), &()).await.unwrap();
    permit.read(&read().payload).await.unwrap();
    assert_eq!(house.gate.grants(&GrantFilter::default())[0].uses, 1);
}

#[tokio::test]
async fn limits_of_a_grant_are_checked() {
    let mut house = House::new().await;
    let (waiting, asked) = house.ask(order()).await;
    for wrong in [
        remember(0),
        remember(9),
        Remember {
            uses: Some(0),
            ..remember(1)
        },
        Remember {
            uses: Some(MAX_GRANT_USES + 1),
            ..remember(1)
        },
        Remember {
            lifetime_ms: Some(0),
            ..remember(1)
        },
        Remember {
            lifetime_ms: Some(MAX_GRANT_MS + 1),
            ..remember(1)
        },
    ] {
        let yes = Decision::from(Verdict::Approve).remembered(wrong);
        let refused = house.gate.decide(asked.id, yes, None, &alice()).await;
        assert!(
            matches!(refused, Err(DecideError::NotRemembered(_))),
            "{wrong:?}"
        );
    }
    assert_eq!(house.approval(asked.id).await.state, State::Pending);
    waiting.abort();
}

#[tokio::test]
async fn a_grant_whose_giver_may_no_longer_decide_asks_again_and_is_withdrawn() {
    let gone = Approvers::default();
    let approvers = Arc::new(gone.clone());
    let mut house = House::with(|options| options.approvers = approvers).await;
    allow(&mut house, order(), 1).await;
    assert!(!is_asked(&mut house, order()).await);
    gone.0.store(true, Ordering::SeqCst);
    assert!(is_asked(&mut house, order()).await);
    // It does not come to life again with a token of the same name.
    gone.0.store(false, Ordering::SeqCst);
    while house.count(EventKind::GrantDeleted).await == 0 {
        tokio::task::yield_now().await;
    }
    assert!(is_asked(&mut house, order()).await);
    assert!(house.gate.grants(&GrantFilter::default()).is_empty());
}

#[tokio::test]
async fn a_repeated_yes_that_is_to_be_remembered_is_another_word() {
    let mut house = House::new().await;
    let (waiting, asked) = house.ask(order()).await;
    house.approve(asked.id).await;
    let more = Decision::from(Verdict::Approve).remembered(remember(1));
    let decided = house.gate.decide(asked.id, more, None, &alice()).await;
    assert!(
        matches!(decided, Err(DecideError::AlreadyDecided(_))),
        "{decided:?}"
    );
    house.approve(asked.id).await;
    assert!(house.gate.grants(&GrantFilter::default()).is_empty());
    drop(waiting.await.unwrap().unwrap());
}
