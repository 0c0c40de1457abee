use futures::StreamExt;
use nexus_forge::{Detail, ForgedState, Mode, NotPublished, Stage, StageState};
use nexus_gate::{Decision, Principal, Verdict};
use nexus_runtime::Outcome;

use crate::host::{Host, anna, last, request, template};

const ORDERS: &[(&str, &str)] = &[("origin", "https://market.example.com")];

#[tokio::test]
async fn a_template_becomes_an_agent_that_answers() {
    let host = Host::open(None).await;
    let events = host
        .forge(request(
            "greeter",
            "say hello",
            template("blank", &[("greeting", "Ahoy")]),
        ))
        .await;
    let Detail::Published(generation) = last(&events).1 else {
        panic!("{events:?}")
    };
    assert_eq!(generation.number, 1);
    let ended: Vec<Stage> = events
        .iter()
        .filter(|e| e.state == StageState::Succeeded)
        .map(|e| e.stage)
        .collect();
    assert_eq!(
        ended,
        [
            Stage::Spec,
            Stage::Review,
            Stage::Source,
            Stage::Build,
            Stage::Proof,
            // The template's own example.
            Stage::SelfTest,
            Stage::Publish
        ]
    );
    assert!(
        events
            .iter()
            .all(|e| (e.state == StageState::Running) == e.duration.is_none())
    );
    let numbers: Vec<u64> = events.iter().map(|e| e.sequence).collect();
    assert_eq!(numbers, (1..=events.len() as u64).collect::<Vec<_>>());

    let answer = host.invoke("greeter", r#"{"name":"Anna"}"#).await;
    let Outcome::Success(text) = &*answer else {
        panic!("{answer:?}")
    };
    assert!(text.contains("Ahoy, Anna!"), "{text}");

    let lineage = host
        .forge
        .lineage(&generation.digest)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(lineage.mode, "template");
    assert_eq!(lineage.template.as_deref(), Some("blank"));
    assert!(lineage.source.contains("nexus_agent") && lineage.manifest.contains("Ahoy"));
    assert!(lineage.toolchain.starts_with("rustc") && !lineage.flags.is_empty());

    // The next version replaces it, and the list tells both, the newest first.
    let events = host
        .forge(request(
            "greeter",
            "say hi",
            template("blank", &[("greeting", "Hi")]),
        ))
        .await;
    let Detail::Published(second) = last(&events).1 else {
        panic!("{events:?}")
    };
    assert_eq!(second.number, 2);
    let list = host.forge.list(None, 10).await.unwrap();
    assert_eq!(
        list.iter().map(|f| f.component).collect::<Vec<_>>(),
        [second.digest, generation.digest]
    );
    assert!(
        list.iter()
            .all(|f| f.state == ForgedState::Published && f.principal == anna())
    );
    let rest = host.forge.list(Some(list[0].id), 10).await.unwrap();
    assert_eq!(rest, list[1..]);
}

#[tokio::test]
async fn what_is_missing_stops_the_forge_before_anything_is_built() {
    let host = Host::open(None).await;
    let mode = Mode::Template {
        template: None,
        set: Default::default(),
    };
    let events = host
        .forge(request("prices", "fetch a json document", mode))
        .await;
    let (StageState::Stopped, Detail::NeedsParameters(needs)) = last(&events) else {
        panic!("{events:?}")
    };
    assert_eq!(needs.template.as_deref(), Some("http-json"));
    assert!(events.iter().all(|e| e.stage == Stage::Spec));
}

#[tokio::test]
async fn powers_that_are_not_free_wait_for_a_person() {
    let host = Host::open(None).await;
    for (agent, verdict) in [("trader", Verdict::Approve), ("denied", Verdict::Deny)] {
        let mut events = host
            .forge
            .forge(request(agent, "", template("http-write", ORDERS)))
            .events;
        let mut all = Vec::new();
        while let Some(event) = events.next().await {
            if let Some(Detail::NeedsReview {
                approval, manifest, ..
            }) = &event.detail
            {
                assert_eq!(event.state, StageState::Stopped);
                assert!(
                    host.runtime.get(&agent.parse().unwrap()).is_none(),
                    "not before the decision"
                );
                let waiting = host.forge.list(None, 1).await.unwrap();
                assert_eq!(waiting[0].state, ForgedState::Review);
                let shown = host
                    .gate
                    .approval(*approval)
                    .await
                    .unwrap()
                    .unwrap()
                    .rendering;
                // What the template made up is told from what was asked for.
                assert!(shown.contains("by_default"), "{shown}");
                assert!(shown.contains("write_path"), "{shown}");
                assert!(shown.contains("Reads a price"), "{shown}");
                for permission in &manifest.permissions {
                    assert!(shown.contains(&permission.to_string()), "{shown}");
                }
                let decision = Decision::from(verdict).because("not today");
                host.gate
                    .decide(*approval, decision, None, &anna())
                    .await
                    .unwrap();
            }
            all.push(event);
        }
        let state = host.forge.list(None, 1).await.unwrap()[0].state;
        match verdict {
            Verdict::Approve => {
                assert!(matches!(last(&all).1, Detail::Published(_)), "{all:?}");
                assert_eq!(state, ForgedState::Published);
            }
            Verdict::Deny => {
                let Detail::Failure(reason) = last(&all).1 else {
                    panic!("{all:?}")
                };
                assert!(reason.contains("not today"), "{reason}");
                assert_eq!(state, ForgedState::Refused);
                assert!(host.runtime.get(&agent.parse().unwrap()).is_none());
            }
        }
    }
}

#[tokio::test]
async fn with_hot_reload_off_nothing_goes_live() {
    let host = Host::open(None).await;
    assert!(host.forge.hot_reload().await.unwrap().enabled);
    host.forge.set_hot_reload(false, &anna()).await.unwrap();
    let events = host
        .forge(request("greeter", "", template("blank", &[])))
        .await;
    let (
        StageState::Stopped,
        Detail::NotPublished {
            reason: NotPublished::HotReloadOff,
            digest,
        },
    ) = last(&events)
    else {
        panic!("{events:?}")
    };
    assert!(host.runtime.get(&"greeter".parse().unwrap()).is_none());
    assert!(host.forge.lineage(digest).await.unwrap().is_some());
    assert_eq!(
        host.forge.list(None, 1).await.unwrap()[0].state,
        ForgedState::Held
    );

    // Thrown while a person decides: the approval publishes nothing either.
    host.forge.set_hot_reload(true, &anna()).await.unwrap();
    let mut events = host
        .forge
        .forge(request("trader", "", template("http-write", ORDERS)))
        .events;
    let mut all = Vec::new();
    while let Some(event) = events.next().await {
        if let Some(Detail::NeedsReview { approval, .. }) = &event.detail {
            host.forge.set_hot_reload(false, &anna()).await.unwrap();
            host.gate
                .decide(*approval, Verdict::Approve, None, &anna())
                .await
                .unwrap();
        }
        all.push(event);
    }
    assert!(
        matches!(last(&all).1, Detail::NotPublished { .. }),
        "{all:?}"
    );
    assert!(host.runtime.get(&"trader".parse().unwrap()).is_none());
}

#[tokio::test]
async fn a_source_that_does_not_compile_or_does_not_fit_is_a_result() {
    let host = Host::open(None).await;
    let manifest = "format = 1\nname = \"mine\"\nversion = \"0.1.0\"\n";
    let source = "use nexus_agent::prelude::*;\nfn invoke(n: u32) -> Result<u32> { Ok(n * 2) }\nexport!(invoke);\n";
    let send = |agent: &str, source: &str, manifest: &str| {
        let mode = Mode::Source {
            source: source.to_owned(),
            manifest: manifest.to_owned(),
        };
        request(agent, "", mode)
    };
    let events = host
        .forge(send("mine", &source.replace("n * 2", "\"x\""), manifest))
        .await;
    let (StageState::Failed, Detail::Diagnostics(found)) = last(&events) else {
        panic!("{events:?}")
    };
    assert_eq!(
        (found[0].code.as_deref(), found[0].line),
        (Some("E0308"), 2)
    );

    let unused =
        format!("{manifest}[[permission]]\nmemory = {{ space = \"kb\", access = \"read\" }}\n");
    let events = host.forge(send("mine", source, &unused)).await;
    let Detail::Diagnostics(found) = last(&events).1 else {
        panic!("{events:?}")
    };
    assert!(
        found[0].message.contains("remove the permission"),
        "{found:?}"
    );
    assert_eq!(events.last().unwrap().stage, Stage::Proof);

    let events = host.forge(send("other", source, manifest)).await;
    assert!(matches!(last(&events).1, Detail::Failure(reason) if reason.contains("mine")));

    let events = host.forge(send("mine", source, "nonsense = 1")).await;
    assert!(matches!(last(&events).1, Detail::Failure(_)));

    let mut dry = send("mine", source, manifest);
    dry.validate_only = true;
    let events = host.forge(dry).await;
    assert!(matches!(
        last(&events).1,
        Detail::NotPublished {
            reason: NotPublished::ValidateOnly,
            ..
        }
    ));
    assert!(host.runtime.get(&"mine".parse().unwrap()).is_none());

    let events = host.forge(send("mine", source, manifest)).await;
    assert!(
        matches!(last(&events).1, Detail::Published(_)),
        "{events:?}"
    );
    assert!(matches!(&*host.invoke("mine", "21").await, Outcome::Success(text) if text == "42"));

    // A name that is taken stays its owner's until a person agrees.
    let mut theirs = send("mine", source, manifest);
    theirs.principal = Principal::new("bert");
    let events: Vec<_> = host
        .forge
        .forge(theirs)
        .events
        .take_while(|event| {
            let asked = matches!(event.detail, Some(Detail::NeedsReview { .. }));
            std::future::ready(!asked)
        })
        .collect()
        .await;
    let told = |reason: &str| reason.contains("belongs to anna");
    assert!(
        events
            .iter()
            .any(|event| matches!(&event.detail, Some(Detail::Log(reason)) if told(reason))),
        "{events:?}"
    );
    assert_eq!(
        host.runtime.get(&"mine".parse().unwrap()).unwrap().owner,
        anna()
    );
}
