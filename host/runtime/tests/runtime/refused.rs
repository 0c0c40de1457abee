//! Components that are not published, each with a reason that helps.

use nexus_manifest::package;
use nexus_runtime::{PrepareError, ProofError, ShapeError};

use crate::guests::{
    ECHO, NULL, OPEN, agent, component, component_of, component_with, manifest, module,
};
use crate::support::Host;

#[tokio::test]
async fn what_is_no_component_is_refused() {
    let host = Host::with(|options| options.limits.component_bytes = 1 << 20).await;
    for bytes in [
        vec![],
        b"#!/bin/sh".to_vec(),
        wat::parse_str("(module)").unwrap(),
    ] {
        let refused = host.runtime.prepare(bytes.into()).await.unwrap_err();
        assert!(
            matches!(refused, PrepareError::Shape(ShapeError::NotAComponent(_))),
            "{refused}"
        );
    }
    let mut cut = agent("echo", "", "", ECHO).to_vec();
    cut.truncate(cut.len() / 2);
    let refused = host.runtime.prepare(cut.into()).await.unwrap_err();
    assert!(
        matches!(refused, PrepareError::Shape(ShapeError::Malformed(_))),
        "{refused}"
    );
    let large = host
        .runtime
        .prepare(vec![0; 2 << 20].into())
        .await
        .unwrap_err();
    assert!(matches!(large, PrepareError::TooLarge { .. }));
}

#[tokio::test]
async fn a_component_has_exactly_one_valid_manifest() {
    let host = Host::new().await;
    let bare = component(&module("", ECHO));
    let none = host.runtime.prepare(bare.clone().into()).await.unwrap_err();
    assert!(matches!(none, PrepareError::Package(_)), "{none}");
    let inner = wat::parse_str("(component)").unwrap();
    let inner = package::pack(&inner, &manifest("inner", "")).unwrap();
    let mut two = package::pack(&bare, &manifest("outer", "")).unwrap();
    two.extend(custom_section(&inner));
    let two = host.runtime.prepare(two.into()).await.unwrap_err();
    assert!(matches!(two, PrepareError::Package(_)), "{two}");
    let unknown = package::pack(&bare, &manifest("odd", "colour = \"red\"\n"));
    let refused = match unknown {
        Ok(packed) => host
            .runtime
            .prepare(packed.into())
            .await
            .unwrap_err()
            .to_string(),
        Err(error) => error.to_string(),
    };
    assert!(refused.contains("colour"), "{refused}");
}

/// The manifest section of a packed component, which stands last.
fn custom_section(packed: &[u8]) -> Vec<u8> {
    packed[8..].to_vec()
}

#[tokio::test]
async fn imports_and_permissions_cover_each_other() {
    let host = Host::new().await;
    let space = "[[permission]]\nmemory = { space = \"notes\", access = \"read\" }\n";
    let uncovered = host
        .runtime
        .prepare(agent("reader", "", OPEN, NULL))
        .await
        .unwrap_err();
    assert!(
        matches!(
            &uncovered,
            PrepareError::Proof(ProofError::NotCovered {
                permission: "memory",
                ..
            })
        ),
        "{uncovered}"
    );
    let unused = host
        .runtime
        .prepare(agent("idle", space, "", NULL))
        .await
        .unwrap_err();
    assert!(
        matches!(
            &unused,
            PrepareError::Proof(ProofError::PermissionNotUsed {
                interface: "memory",
                ..
            })
        ),
        "{unused}"
    );
    host.runtime
        .prepare(agent("reader", space, OPEN, NULL))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_secret_is_shown_to_who_says_so_and_to_no_forged_agent() {
    let host = Host::new().await;
    let reveal =
        r#"(import "nexus:agent/vault-reveal@0.1.0" "reveal" (func (param i32 i32 i32 i32)))"#;
    let component = component_of("trusted-agent", &module(reveal, NULL));
    let permission = |more: &str| {
        format!(
            "[[permission]]\nsecret = {{ name = \"key\", audience = [\"https://example.com\"]{more} }}\n"
        )
    };
    let packed = |component: &[u8], more| {
        let manifest = manifest("curious", &permission(more));
        bytes::Bytes::from(package::pack(component, &manifest).unwrap())
    };
    let refused = host
        .runtime
        .prepare(packed(&component, ""))
        .await
        .unwrap_err();
    assert!(
        matches!(&refused, PrepareError::Proof(ProofError::NotCovered { import, .. }) if import.contains("vault-reveal")),
        "{refused}"
    );
    // Whatever the manifest says.
    for more in ["", ", reveal = true"] {
        let forged = host.runtime.prepare_forged(packed(&component, more)).await;
        let refused = forged.unwrap_err();
        assert!(
            matches!(&refused, PrepareError::Proof(ProofError::NeverForged { import }) if import.contains("vault-reveal")),
            "{refused}"
        );
    }
    let open =
        r#"(import "nexus:agent/vault@0.1.0" "[static]secret.open" (func (param i32 i32 i32)))"#;
    let component = component_of("agent", &module(open, NULL));
    let claims = packed(&component, ", reveal = true");
    let refused = host.runtime.prepare(claims).await.unwrap_err();
    assert!(
        matches!(
            &refused,
            PrepareError::Proof(ProofError::PermissionNotUsed {
                interface: "vault-reveal",
                ..
            })
        ),
        "{refused}"
    );
}

#[tokio::test]
async fn nothing_but_agents_interfaces_and_virtual_wasi_can_be_imported() {
    let host = Host::new().await;
    for (import, part) in [
        ("wasi:sockets/tcp@0.2.0", "network"),
        ("wasi:http/outgoing-handler@0.2.0", "network"),
        ("wasi:keyvalue/store@0.2.0", "virtual WASI"),
        ("wasi:cli/stdout@0.3.0", "virtual WASI"),
        ("nexus:agent/log@0.2.0", "version 0.1"),
        ("nexus:agent/root@0.1.0", "no such interface"),
        ("other:thing/interface@1.0.0", "virtual WASI"),
    ] {
        let text = format!("(component (import \"{import}\" (instance (export \"f\" (func)))))");
        let packed = package::pack(&wat::parse_str(text).unwrap(), &manifest("odd", "")).unwrap();
        let refused = host.runtime.prepare(packed.into()).await.unwrap_err();
        assert!(
            matches!(&refused, PrepareError::Proof(ProofError::NotOffered { .. })),
            "{refused}"
        );
        assert!(refused.to_string().contains(part), "{refused}");
    }
    let packed = package::pack(
        &wat::parse_str("(component)").unwrap(),
        &manifest("empty", ""),
    );
    let refused = host
        .runtime
        .prepare(packed.unwrap().into())
        .await
        .unwrap_err();
    assert!(
        matches!(refused, PrepareError::Proof(ProofError::NoHandler)),
        "{refused}"
    );
}

#[tokio::test]
async fn a_component_that_does_harm_while_it_starts_is_refused() {
    let host = Host::with(|options| crate::support::hasty(&mut options.limits)).await;
    let at_start = |what: &str| {
        let module = module("", NULL).replace(
            "(func $forever",
            &format!("(func $start {what}) (start $start) (func $forever"),
        );
        package::pack(&component(&module), &manifest("early", "")).unwrap()
    };
    for what in ["(call $forever)", "(unreachable)"] {
        let refused = host
            .runtime
            .prepare(at_start(what).into())
            .await
            .unwrap_err();
        assert!(matches!(refused, PrepareError::Trial(_)), "{refused}");
    }
}

#[tokio::test]
async fn a_forged_component_offers_the_handler_and_nothing_beside_it() {
    let host = Host::new().await;
    let wit = "package test:guest;\ninterface back { door: func(); }\nworld guest { include nexus:agent/agent@0.1.0; export back; }\n";
    let module = module("", NULL);
    // Into the module, before its last bracket.
    let whole = module.trim_end().strip_suffix(')').unwrap();
    let more = format!("{whole} (func (export \"test:guest/back#door\")))");
    let component = component_with(wit, &more);
    let packed = package::pack(&component, &manifest("two-doors", "")).unwrap();
    let refused = host
        .runtime
        .prepare_forged(packed.into())
        .await
        .unwrap_err();
    assert!(
        matches!(&refused, PrepareError::Proof(ProofError::TooMuchExported { export }) if export == "test:guest/back"),
        "{refused}"
    );
}
