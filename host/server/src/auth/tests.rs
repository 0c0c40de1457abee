//! Tokens whose change is cut off, lands and fails, or meets a disk that takes nothing.
#![allow(clippy::unwrap_used, reason = "a failing step fails the test")]

use std::sync::Arc;
use std::time::Duration;

use nexus_audit::Audit;

use super::{Role, Tokens};
use crate::audited::audited;
use crate::faulty::Faulty;

const TOKENS: &str = "tokens";

struct Stage {
    dir: tempfile::TempDir,
    store: Arc<Faulty>,
    audit: Audit,
    tokens: Tokens,
}

impl Stage {
    async fn new() -> Self {
        let (dir, store, audit) = audited().await;
        let tokens = Tokens::open(store.clone(), audit.clone()).await.unwrap();
        Self {
            dir,
            store,
            audit,
            tokens,
        }
    }

    /// The tokens as the next start finds them.
    async fn reopen(&self) -> Tokens {
        let opened = Tokens::open(self.store.clone(), self.audit.clone());
        opened.await.unwrap()
    }

    /// A token's id and secret.
    async fn caller(&self) -> (String, String) {
        let made = self.tokens.create("bot", Role::Caller, None, "op", "");
        let made = made.await.unwrap();
        (made.info.id, made.secret)
    }

    /// Whether the token works, here and after a restart.
    async fn works(&self, secret: &str) -> (bool, bool) {
        let works = |tokens: &Tokens| tokens.authenticate(secret).is_some();
        (works(&self.tokens), works(&self.reopen().await))
    }
}

#[tokio::test]
async fn a_revocation_whose_client_leaves_holds_at_once_and_ends_the_streams() {
    let stage = Stage::new().await;
    let (id, secret) = stage.caller().await;
    let mut life = stage.tokens.authenticate(&secret).unwrap().life.subscribe();
    let mut hold = stage.store.hold_answer(TOKENS);
    let mut revoking = Box::pin(stage.tokens.revoke(&id, Duration::ZERO, "op"));
    tokio::select! {
        biased;
        _ = &mut revoking => panic!("its commit is held"),
        () = hold.reached() => {}
    }
    drop(revoking);
    assert_eq!(stage.works(&secret).await, (false, false));
    assert!(life.wait_for(Option::is_some).await.unwrap().is_some());
    drop(hold);
    let again = stage.tokens.revoke(&id, Duration::ZERO, "op").await;
    assert!(again.unwrap().revoked_ms.is_some());
}

#[tokio::test]
async fn a_revocation_that_fails_holds_and_is_made_durable_by_the_next() {
    let stage = Stage::new().await;
    let (id, secret) = stage.caller().await;
    stage.store.lose(TOKENS);
    let failed = stage.tokens.revoke(&id, Duration::ZERO, "op").await;
    assert!(failed.is_err(), "it does not outlast the process");
    assert_eq!(stage.works(&secret).await, (false, true));
    let again = stage.tokens.revoke(&id, Duration::ZERO, "op").await;
    again.unwrap();
    assert_eq!(stage.works(&secret).await, (false, false));

    let (id, secret) = stage.caller().await;
    stage.store.land(TOKENS);
    assert!(
        stage
            .tokens
            .revoke(&id, Duration::ZERO, "op")
            .await
            .is_err()
    );
    assert_eq!(stage.works(&secret).await, (false, false));
}

#[tokio::test]
async fn a_token_whose_client_leaves_can_be_listed_and_revoked() {
    let stage = Stage::new().await;
    let mut hold = stage.store.hold_answer(TOKENS);
    let tokens = &stage.tokens;
    let mut creating = Box::pin(tokens.create("bot", Role::Caller, None, "op", "request"));
    tokio::select! {
        biased;
        _ = &mut creating => panic!("its commit is held"),
        () = hold.reached() => {}
    }
    drop((creating, hold));
    while tokens.list().is_empty() {
        tokio::task::yield_now().await;
    }
    stage.store.land(TOKENS);
    let landed = tokens.create("bot", Role::Caller, None, "op", "another");
    assert!(landed.await.is_err());
    assert_eq!(tokens.list(), stage.reopen().await.list());
    for token in tokens.list() {
        tokens
            .revoke(&token.id, Duration::ZERO, "op")
            .await
            .unwrap();
    }
    assert_eq!(tokens.list().len(), 2);
    assert_eq!(tokens.list(), stage.reopen().await.list());
}

#[tokio::test]
async fn no_operator_token_works_that_nobody_can_read() {
    let stage = Stage::new().await;
    let nowhere = stage.dir.path().join("missing").join("token");
    assert!(stage.tokens.ensure_operator(&nowhere).await.is_err());
    let file = stage.dir.path().join("token");
    // Not even when it is the commit that fails.
    stage.store.lose(TOKENS);
    assert!(stage.tokens.ensure_operator(&file).await.is_err());
    let tokens = stage.reopen().await;
    tokens.ensure_operator(&file).await.unwrap();
    let secret = std::fs::read_to_string(&file).unwrap();
    let caller = tokens.authenticate(&secret).unwrap();
    assert_eq!(caller.role, Role::Operator);
    assert_eq!(tokens.list().len(), 1);
    // And one that works is left alone.
    tokens.ensure_operator(&nowhere).await.unwrap();
    assert_eq!(tokens.list().len(), 1);
}
