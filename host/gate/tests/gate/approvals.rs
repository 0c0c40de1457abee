//! Questions and answers: who may say what, when, and what comes of it.

use std::time::Duration;

use nexus_audit::EventKind;
use nexus_gate::kind::Http;
use nexus_gate::{
    ApprovalId, DecideError, Decision, Filter, Finish, MAX_APPROVALS, Observer, Page, Principal,
    Refusal, SHOWN_PER_AGENT, SelfApproval, StartError, State, Verdict,
};
use nexus_manifest::Digest;
use nexus_store::{Commit, Store, Table};
use serde_json::json;

use crate::house::{House, alice, order, order_of};

const DENY: Verdict = Verdict::Deny;

fn deny(reason: &str) -> Decision {
    Decision::from(DENY).because(reason)
}

#[tokio::test]
async fn yes_lets_exactly_this_happen_once() {
    let mut house = House::new().await;
    let (waiting, asked) = house.ask(order()).await;
    let decided = house
        .gate
        .decide(asked.id, Verdict::Approve, Some(asked.digest), &alice())
        .await
        .unwrap();
    assert_eq!(decided.state, State::Approved);
    let permit = waiting.await.unwrap().unwrap();
    assert_eq!(permit.digest(), asked.digest);
    let receipt = permit.start(&order().payload).await.unwrap();
    assert_eq!(house.approval(asked.id).await.state, State::Consumed);
    let finish = Finish {
        ok: true,
        result: Digest::of(b"201"),
        detail: json!({ "status": 201 }),
    };
    receipt.finish(finish).await.unwrap();
    assert_eq!(house.count(EventKind::EffectFinished).await, 1);
    assert_eq!(house.count(EventKind::EffectUnknown).await, 0);
}

#[tokio::test]
async fn no_ends_it_and_the_agent_learns_why() {
    let mut house = House::new().await;
    let (waiting, asked) = house.ask(order()).await;
    house
        .gate
        .decide(asked.id, deny("too much"), None, &alice())
        .await
        .unwrap();
    assert_eq!(
        waiting.await.unwrap().unwrap_err(),
        Refusal::Denied(Some("too much".to_owned()))
    );
    assert_eq!(house.approval(asked.id).await.state, State::Denied);
    assert_eq!(house.count(EventKind::EffectStarted).await, 0);
}

#[tokio::test]
async fn no_answer_is_no() {
    let mut house = House::with(|options| options.deadline = Duration::from_millis(20)).await;
    let waiting = house.bring::<Http>(order());
    assert_eq!(waiting.await.unwrap().unwrap_err(), Refusal::Expired);
    let expired = house.next(State::Expired).await;
    let late = house
        .gate
        .decide(expired.id, Verdict::Approve, None, &alice())
        .await
        .unwrap_err();
    assert!(
        matches!(&late, DecideError::Closed(it) if it.state == State::Expired),
        "{late}"
    );
    assert_eq!(house.count(EventKind::ApprovalExpired).await, 1);
}

#[tokio::test]
async fn a_yes_that_is_not_used_in_time_is_void() {
    // On a slow machine a short deadline passes before the yes; then with a longer one.
    for millis in [50, 500, 5_000, 50_000] {
        let deadline = Duration::from_millis(millis);
        let mut house = House::with(|options| options.deadline = deadline).await;
        let waiting = house.bring::<Http>(order());
        let asked = house.changes.recv().await.unwrap();
        let decided = house
            .gate
            .decide(asked.id, Verdict::Approve, None, &alice())
            .await;
        let (Ok(_), Ok(permit)) = (decided, waiting.await.unwrap()) else {
            continue;
        };
        house.next(State::Expired).await;
        let error = permit.start(&order().payload).await.unwrap_err();
        assert_eq!(error, StartError::Expired);
        assert_eq!(house.count(EventKind::EffectStarted).await, 0);
        return;
    }
    panic!("no deadline was long enough to say yes");
}

#[tokio::test]
async fn the_same_answer_twice_counts_once_and_another_is_refused_and_recorded() {
    let mut house = House::new().await;
    let (waiting, asked) = house.ask(order()).await;
    house.approve(asked.id).await;
    let again = house
        .gate
        .decide(asked.id, Verdict::Approve, None, &alice())
        .await
        .unwrap();
    assert_eq!(again.decisions.len(), 1);
    let others = [
        (alice(), DENY),
        (Principal::new("bob"), Verdict::Approve),
        (Principal::new("bob"), DENY),
    ];
    for (who, verdict) in others {
        let error = house
            .gate
            .decide(asked.id, verdict, None, &who)
            .await
            .unwrap_err();
        assert!(
            matches!(&error, DecideError::AlreadyDecided(it) if it.decisions.len() == 1),
            "{error}"
        );
    }
    // Also after the effect has started.
    drop(
        waiting
            .await
            .unwrap()
            .unwrap()
            .start(&order().payload)
            .await
            .unwrap(),
    );
    let again = house
        .gate
        .decide(asked.id, Verdict::Approve, None, &alice())
        .await
        .unwrap();
    assert_eq!(again.state, State::Consumed);
    let error = house
        .gate
        .decide(asked.id, DENY, None, &alice())
        .await
        .unwrap_err();
    assert!(matches!(error, DecideError::AlreadyDecided(_)), "{error}");
    let refused = house.events().await.into_iter().filter(|record| {
        record.event.kind == EventKind::ApprovalDecided
            && record
                .event
                .outcome
                .as_deref()
                .is_some_and(|outcome| outcome.contains("refused"))
    });
    assert_eq!(refused.count(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_64_people_at_once_one_decides() {
    let mut house = House::new().await;
    let (waiting, asked) = house.ask(order()).await;
    let decisions: Vec<_> = (0..64)
        .map(|number| {
            let (gate, who) = (
                house.gate.clone(),
                Principal::new(format!("person-{number}")),
            );
            let verdict = if number % 2 == 0 {
                Verdict::Approve
            } else {
                DENY
            };
            tokio::spawn(async move { gate.decide(asked.id, verdict, None, &who).await })
        })
        .collect();
    let mut won = Vec::new();
    for decision in decisions {
        match decision.await.unwrap() {
            Ok(approval) => won.push(approval),
            Err(error) => assert!(matches!(error, DecideError::AlreadyDecided(_)), "{error}"),
        }
    }
    assert_eq!(won.len(), 1);
    assert_eq!(
        waiting.await.unwrap().is_ok(),
        won[0].state == State::Approved
    );
    assert_eq!(house.approval(asked.id).await.decisions.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_person_64_times_is_one_decision() {
    let mut house = House::new().await;
    let (waiting, asked) = house.ask(order()).await;
    let decisions: Vec<_> = (0..64)
        .map(|_| {
            let gate = house.gate.clone();
            tokio::spawn(async move {
                gate.decide(asked.id, Verdict::Approve, None, &alice())
                    .await
            })
        })
        .collect();
    for decision in decisions {
        assert_eq!(decision.await.unwrap().unwrap().decisions.len(), 1);
    }
    drop(waiting.await.unwrap().unwrap());
    assert_eq!(house.count(EventKind::ApprovalDecided).await, 1);
}

#[tokio::test]
async fn a_decision_about_something_else_does_not_count() {
    let mut house = House::new().await;
    let (waiting, asked) = house.ask(order()).await;
    let seen = Digest::of(b"something else");
    let error = house
        .gate
        .decide(asked.id, Verdict::Approve, Some(seen), &alice())
        .await
        .unwrap_err();
    assert!(matches!(error, DecideError::DigestMismatch { actual } if actual == asked.digest));
    let error = house
        .gate
        .decide(ApprovalId::new(), DENY, None, &alice())
        .await
        .unwrap_err();
    assert!(matches!(error, DecideError::NotFound(_)));
    assert_eq!(house.approval(asked.id).await.state, State::Pending);
    waiting.abort();
}

const FOUR_EYES: &str = r#"
    @id("four-eyes") permit (principal, action, resource) when { context.approvals >= 2 };
"#;

#[tokio::test]
async fn four_eyes_are_two_people() {
    let mut house = House::under(FOUR_EYES).await;
    let (waiting, asked) = house.ask(order()).await;
    assert_eq!(asked.required, MAX_APPROVALS);
    let first = house
        .gate
        .decide(asked.id, Verdict::Approve, None, &alice())
        .await
        .unwrap();
    assert_eq!(first.state, State::Pending);
    let same = house
        .gate
        .decide(asked.id, Verdict::Approve, None, &alice())
        .await
        .unwrap();
    assert_eq!((same.state, same.decisions.len()), (State::Pending, 1));
    assert!(!waiting.is_finished());
    let bob = Principal::new("bob");
    let second = house
        .gate
        .decide(asked.id, Verdict::Approve, None, &bob)
        .await
        .unwrap();
    assert_eq!(second.state, State::Approved);
    drop(waiting.await.unwrap().unwrap());
}

#[tokio::test]
async fn of_two_one_no_is_enough() {
    let mut house = House::under(FOUR_EYES).await;
    let (waiting, asked) = house.ask(order()).await;
    house.approve(asked.id).await;
    let bob = Principal::new("bob");
    assert_eq!(
        house
            .gate
            .decide(asked.id, DENY, None, &bob)
            .await
            .unwrap()
            .state,
        State::Denied
    );
    assert_eq!(waiting.await.unwrap().unwrap_err(), Refusal::Denied(None));
}

#[tokio::test]
async fn who_started_it_may_be_kept_from_approving_it() {
    let mut house = House::with(|options| options.self_approval = SelfApproval::Refused).await;
    let (waiting, asked) = house.ask(order()).await;
    let starter = asked.principal.clone();
    let error = house
        .gate
        .decide(asked.id, Verdict::Approve, None, &starter)
        .await
        .unwrap_err();
    assert!(matches!(error, DecideError::SelfApproval { others: false }));
    house.approve(asked.id).await;
    drop(waiting.await.unwrap().unwrap());
    // Taking back is always theirs.
    let (waiting, asked) = house.ask(order()).await;
    house
        .gate
        .decide(asked.id, DENY, None, &starter)
        .await
        .unwrap();
    assert_eq!(waiting.await.unwrap().unwrap_err(), Refusal::Denied(None));
}

#[tokio::test]
async fn five_are_shown_and_the_rest_wait_their_turn() {
    let mut house = House::new().await;
    let mut asked = Vec::new();
    let mut waiting = Vec::new();
    for number in 0..SHOWN_PER_AGENT + 2 {
        waiting.push(house.bring::<Http>(order_of(number)));
        let state = if number < SHOWN_PER_AGENT {
            State::Pending
        } else {
            State::Queued
        };
        asked.push(house.next(state).await.id);
    }
    assert_eq!(house.in_state(State::Pending).await.len(), SHOWN_PER_AGENT);
    assert_eq!(house.in_state(State::Queued).await.len(), 2);
    // Whichever leaves, the one that has waited longest is shown.
    house
        .gate
        .decide(asked[2], DENY, None, &alice())
        .await
        .unwrap();
    assert_eq!(house.next(State::Pending).await.id, asked[SHOWN_PER_AGENT]);
    waiting[0].abort();
    assert_eq!(
        house.next(State::Pending).await.id,
        asked[SHOWN_PER_AGENT + 1]
    );
    assert_eq!(house.in_state(State::Pending).await.len(), SHOWN_PER_AGENT);
    assert!(house.in_state(State::Queued).await.is_empty());
    waiting.iter().for_each(|task| task.abort());
}

#[tokio::test]
async fn a_flood_is_shown_five_at_a_time() {
    let mut house = House::new().await;
    let waiting: Vec<_> = (0..100)
        .map(|number| house.bring::<Http>(order_of(number)))
        .collect();
    for decided in 0..100 {
        let shown = house.next(State::Pending).await;
        assert!(
            house.in_state(State::Pending).await.len() <= SHOWN_PER_AGENT,
            "after {decided}"
        );
        house
            .gate
            .decide(shown.id, DENY, None, &alice())
            .await
            .unwrap();
    }
    for task in waiting {
        assert_eq!(task.await.unwrap().unwrap_err(), Refusal::Denied(None));
    }
}

#[tokio::test]
async fn questions_that_ask_for_the_same_are_shown_as_one() {
    let mut house = House::new().await;
    let mut waiting = vec![house.bring::<Http>(order())];
    let shown = house.next(State::Pending).await;
    for _ in 0..9 {
        waiting.push(house.bring::<Http>(order()));
        house.next(State::Queued).await;
    }
    // They take one place of five, so that another question is shown at once.
    waiting.push(house.bring::<Http>(order_of(2)));
    let other = house.next(State::Pending).await;
    assert_eq!(house.gate.company(&shown).identical, 9);
    assert_eq!(house.gate.company(&other).identical, 0);

    // Five of them with the one that is shown; then the next is shown in its place.
    let mut six = Decision::from(Verdict::Approve);
    six.identical = 5;
    house
        .gate
        .decide(shown.id, six, Some(shown.digest), &alice())
        .await
        .unwrap();
    assert_eq!(house.in_state(State::Approved).await.len(), 6);
    let next = house.next(State::Pending).await;
    assert_eq!(house.gate.company(&next).identical, 3);
    // Each has a word and a digest of its own.
    let approved = house.in_state(State::Approved).await;
    let digests: std::collections::BTreeSet<_> = approved
        .iter()
        .map(|approval| approval.digest.to_hex())
        .collect();
    assert_eq!(digests.len(), 6);
    assert!(approved.iter().all(|it| it.decisions.len() == 1));
    assert_eq!(house.count(EventKind::ApprovalDecided).await, 6);
    let company = house.gate.company(&next);
    assert_eq!((company.asked, company.approved), (11, 6));

    let mut all = deny("enough");
    all.identical = 100;
    house
        .gate
        .decide(next.id, all, None, &alice())
        .await
        .unwrap();
    assert_eq!(house.in_state(State::Denied).await.len(), 4);
    assert_eq!(house.gate.company(&other).denied, 4);
    // What is not the same was not decided with them.
    assert_eq!(house.approval(other.id).await.state, State::Pending);
    waiting.iter().for_each(|task| task.abort());
}

#[tokio::test]
async fn a_decision_on_something_else_decides_none_of_those_like_it() {
    let mut house = House::new().await;
    let waiting = [house.bring::<Http>(order()), house.bring::<Http>(order())];
    let shown = house.next(State::Pending).await;
    house.next(State::Queued).await;
    let mut both = Decision::from(Verdict::Approve);
    both.identical = 1;
    let wrong = Digest::of(b"something else");
    let refused = house
        .gate
        .decide(shown.id, both, Some(wrong), &alice())
        .await;
    assert!(matches!(refused, Err(DecideError::DigestMismatch { .. })));
    assert!(house.in_state(State::Approved).await.is_empty());
    waiting.iter().for_each(|task| task.abort());
}

#[tokio::test]
async fn whoever_stops_waiting_withdraws_the_question() {
    let mut house = House::new().await;
    let (waiting, asked) = house.ask(order()).await;
    waiting.abort();
    let cancelled = house.next(State::Cancelled).await;
    assert_eq!(cancelled.id, asked.id);
    assert!(cancelled.cancel_reason.is_some());
    let error = house
        .gate
        .decide(asked.id, Verdict::Approve, None, &alice())
        .await
        .unwrap_err();
    assert!(matches!(error, DecideError::Closed(_)), "{error}");
    assert_eq!(house.count(EventKind::ApprovalCancelled).await, 1);
}

#[tokio::test]
async fn a_question_dropped_at_any_point_is_never_left_open() {
    let mut house = House::new().await;
    // Cut off at each of its first suspension points, before and after the row is on disk.
    for polls in 1..6 {
        let mut check = Box::pin(house.gate.check::<Http>(order(), &()));
        for _ in 0..polls {
            let _ = futures::poll!(&mut check);
            tokio::task::yield_now().await;
        }
        drop(check);
        house.next(State::Cancelled).await;
    }
    assert!(house.in_state(State::Pending).await.is_empty());
    assert_eq!(house.count(EventKind::ApprovalCancelled).await, 5);
}

#[tokio::test]
async fn a_permit_that_is_not_used_is_withdrawn() {
    let mut house = House::new().await;
    let (waiting, asked) = house.ask(order()).await;
    house.approve(asked.id).await;
    drop(waiting.await.unwrap().unwrap());
    assert_eq!(house.next(State::Cancelled).await.id, asked.id);
}

#[tokio::test]
async fn a_person_can_withdraw_a_question() {
    let mut house = House::new().await;
    let (waiting, asked) = house.ask(order()).await;
    let cancelled = house.gate.cancel(asked.id, "a mistake").await.unwrap();
    assert_eq!(cancelled.cancel_reason.as_deref(), Some("a mistake"));
    assert_eq!(waiting.await.unwrap().unwrap_err(), Refusal::Cancelled);
    assert_eq!(
        house.gate.cancel(asked.id, "again").await.unwrap(),
        cancelled
    );
    let unknown = house.gate.cancel(ApprovalId::new(), "").await.unwrap_err();
    assert!(matches!(unknown, DecideError::NotFound(_)));
}

const INVOCATIONS: Table = Table("test_invocations");

struct Parked;

impl Observer for Parked {
    fn waiting(&self, commit: &mut Commit, approval: &nexus_gate::Approval) {
        commit.put(
            INVOCATIONS,
            approval.invocation.to_string(),
            b"waiting".to_vec(),
        );
    }

    fn resumed(&self) {}
}

#[tokio::test]
async fn the_question_and_the_parked_invocation_are_written_together() {
    let mut house = House::new().await;
    let gate = house.gate.clone();
    let waiting = tokio::spawn(async move { gate.check::<Http>(order(), &Parked).await.map(drop) });
    let asked = house.next(State::Pending).await;
    let row = house
        .disk
        .get(INVOCATIONS, asked.invocation.to_string().as_bytes())
        .await
        .unwrap();
    assert_eq!(row.as_deref(), Some(&b"waiting"[..]));
    waiting.abort();
}

struct Herald(std::sync::Mutex<Option<tokio::sync::oneshot::Sender<ApprovalId>>>);

impl Observer for Herald {
    fn waiting(&self, _: &mut Commit, approval: &nexus_gate::Approval) {
        let herald = self.0.lock().unwrap().take().unwrap();
        herald.send(approval.id).unwrap();
    }

    fn resumed(&self) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_hears_of_a_question_first_can_answer_it() {
    let house = House::new().await;
    for number in 0..50 {
        let (send, heard) = tokio::sync::oneshot::channel();
        let (gate, herald) = (house.gate.clone(), Herald(Some(send).into()));
        let waiting =
            tokio::spawn(async move { gate.check::<Http>(order(), &herald).await.map(drop) });
        let id = heard.await.unwrap();
        if number % 2 == 0 {
            assert!(house.gate.approval(id).await.unwrap().is_some());
        }
        house.gate.decide(id, DENY, None, &alice()).await.unwrap();
        assert_eq!(waiting.await.unwrap().unwrap_err(), Refusal::Denied(None));
    }
}

#[tokio::test]
async fn listings_filter_and_go_on_where_they_ended() {
    let mut house = House::new().await;
    let mut asked = Vec::new();
    for _ in 0..4 {
        let waiting = house.bring::<Http>(order());
        asked.push(house.next(State::Pending).await.id);
        house
            .gate
            .decide(*asked.last().unwrap(), DENY, None, &alice())
            .await
            .unwrap();
        waiting.await.unwrap().unwrap_err();
    }
    let agent: nexus_manifest::AgentName = "eth-tracker".parse().unwrap();
    let filters = [
        Filter::default(),
        Filter {
            state: Some(State::Denied),
            agent: None,
        },
        Filter {
            state: None,
            agent: Some(agent.clone()),
        },
        Filter {
            state: Some(State::Denied),
            agent: Some(agent),
        },
    ];
    for filter in filters {
        let mut listed = Vec::new();
        let mut page = Page {
            after: None,
            limit: 3,
            newest_first: false,
        };
        for newest_first in [false, true] {
            page = Page {
                after: None,
                newest_first,
                ..page
            };
            loop {
                let approvals = house.gate.approvals(&filter, &page).await.unwrap();
                let Some(last) = approvals.last() else { break };
                page.after = Some(last.id);
                listed.extend(approvals.iter().map(|approval| approval.id));
            }
        }
        let both: Vec<_> = asked.iter().chain(asked.iter().rev()).copied().collect();
        assert_eq!(listed, both, "{filter:?}");
    }
    let none = Filter {
        state: None,
        agent: Some("another".parse().unwrap()),
    };
    assert!(
        house
            .gate
            .approvals(&none, &Page::default())
            .await
            .unwrap()
            .is_empty()
    );
    assert!(house.in_state(State::Pending).await.is_empty());
}
