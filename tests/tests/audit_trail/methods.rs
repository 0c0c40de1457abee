//! Every method that changes something leaves a record with its caller's name.

use std::collections::BTreeSet;

use nexus_proto::{DESCRIPTOR_SET, v1};
use nexus_tests::origin::Origin;
use nexus_tests::{Client, Host, guests, probe};
use prost::Message as _;
use prost_types::FileDescriptorSet;
use serde_json::{Value, json};

use super::all;

/// Methods that change nothing. What agents remember is private, so looking at it is recorded too.
const READS: [&str; 28] = [
    "AgentService.DiffGenerations",
    "AgentService.GetAgent",
    "AgentService.ListAgents",
    "AgentService.ListGenerations",
    "AgentService.WatchAgents",
    "ApprovalService.GetApproval",
    "ApprovalService.ListGrants",
    "ApprovalService.ListApprovals",
    "ApprovalService.WatchApprovals",
    "AuditService.GetCheckpoint",
    "AuditService.ListEvents",
    "AuditService.WatchEvents",
    "ForgeService.GetForge",
    "ForgeService.GetHotReload",
    "ForgeService.ListForgedAgents",
    "ForgeService.ListForges",
    "ForgeService.WatchForge",
    "InvocationService.GetInvocation",
    "InvocationService.ListInvocations",
    "InvocationService.WatchInvocation",
    "InvocationService.WatchInvocations",
    "MemoryService.GetEntry",
    "MemoryService.ListEntries",
    "PolicyService.ExplainAction",
    "PolicyService.GetPolicy",
    "SystemService.GetStatus",
    "SystemService.ListTokens",
    "VaultService.ListSecrets",
];

/// Methods whose record another test looks at, and which.
const ELSEWHERE: [(&str, &str); 3] = [
    (
        "ForgeService.TriggerHotReload",
        "what_was_built_while_hot_reload_was_off_goes_live_when_it_is_triggered",
    ),
    (
        "ApprovalService.DeleteGrant",
        "host/gate/tests/gate/standing.rs: `grant_deleted`",
    ),
    (
        "PolicyService.SetPolicy",
        "a_policy_holds_at_once_and_after_kill_9_and_the_trail_says_who_changed_it",
    ),
];

/// Methods that are recorded by what the agent then does: one that touches nothing leaves a metric.
const CALLS: [&str; 2] = [
    "InvocationService.InvokeAgent",
    "InvocationService.StartInvocation",
];

/// Who calls: a name that nothing else in the trail has.
const WHO: &str = "somebody-else";

fn methods() -> anyhow::Result<BTreeSet<String>> {
    let set = FileDescriptorSet::decode(DESCRIPTOR_SET)?;
    let mut methods = BTreeSet::new();
    for file in set.file.iter().filter(|file| file.package() == "nexus.v1") {
        for service in &file.service {
            for method in &service.method {
                methods.insert(format!("{}.{}", service.name(), method.name()));
            }
        }
    }
    Ok(methods)
}

/// The kinds of the records that bear the caller's name, since there were `before` of them.
async fn since(reader: &mut Client, before: usize) -> anyhow::Result<Vec<String>> {
    let events = all(reader).await?;
    let ours = events[before..]
        .iter()
        .filter(|event| event.principal == WHO);
    Ok(ours.map(|event| event.kind.clone()).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_method_that_changes_something_leaves_a_record_of_who_called_it() -> anyhow::Result<()>
{
    let origin = Origin::json(json!({})).await?;
    let config = format!("[egress]\nprivate_origins = [{:?}]", origin.url());
    let host = Host::builder().config(&config).start()?;
    let mut reader = host.operator().await?;
    let mut client = host.client(WHO, v1::Role::Operator).await?;
    let permission = probe::http(&origin.url());
    let asking = probe::component("asking", &[&permission]);
    let order = Value::from(probe::post(&origin.url(), "/orders", &json!({ "n": 1 })));
    let mut recorded = BTreeSet::new();
    macro_rules! leaves {
        ($method:literal, $kind:literal, $call:expr) => {{
            let before = all(&mut reader).await?.len();
            let answer = $call;
            let found = since(&mut reader, before).await?;
            assert!(
                found.iter().any(|kind| kind == $kind),
                "{} leaves {found:?}",
                $method
            );
            recorded.insert($method.to_owned());
            answer
        }};
    }

    let echo = guests::component("echo");
    leaves!(
        "AgentService.DeployAgent",
        "generation_published",
        client.deploy(&echo).await?
    );
    let review = client
        .upload(&asking, v1::DeployAgentMetadata::default())
        .await?;
    let accept = v1::AcceptAgentRequest {
        name: "agents/asking".to_owned(),
        permissions_digest: review.permissions_digest,
    };
    leaves!(
        "AgentService.AcceptAgent",
        "approval_decided",
        client.agents.accept_agent(accept).await?
    );
    client.deploy(&echo).await?;
    let back = v1::RollbackAgentRequest {
        name: "agents/echo".to_owned(),
        ..v1::RollbackAgentRequest::default()
    };
    leaves!(
        "AgentService.RollbackAgent",
        "generation_rolled_back",
        client.agents.rollback_agent(back).await?
    );
    let delete = v1::DeleteAgentRequest {
        name: "agents/echo".to_owned(),
        ..v1::DeleteAgentRequest::default()
    };
    leaves!(
        "AgentService.DeleteAgent",
        "agent_deleted",
        client.agents.delete_agent(delete).await?
    );

    let waiting = client.invoke("asking", &order).await?;
    leaves!(
        "ApprovalService.DecideApproval",
        "approval_decided",
        client
            .decide(&waiting.approvals[0], v1::Verdict::Deny)
            .await?
    );
    let waiting = reader.invoke("asking", &order).await?;
    let cancel = v1::CancelInvocationRequest {
        name: waiting.name,
        ..v1::CancelInvocationRequest::default()
    };
    leaves!(
        "InvocationService.CancelInvocation",
        "request_received",
        client.invocations.cancel_invocation(cancel).await?
    );

    let build = v1::BuildComponentRequest {
        source: "no source".to_owned(),
        manifest: "no manifest".to_owned(),
    };
    leaves!(
        "BuildService.BuildComponent",
        "request_received",
        client.build.build_component(build).await?
    );
    let forge = v1::ForgeAgentRequest {
        agent_id: "forged".to_owned(),
        mode: v1::ForgeMode::Source.into(),
        source: "no source".to_owned(),
        manifest: "no manifest".to_owned(),
        ..v1::ForgeAgentRequest::default()
    };
    leaves!("ForgeService.ForgeAgent", "forge_finished", {
        let mut events = client.forge.forge_agent(forge.clone()).await?.into_inner();
        while events.message().await?.is_some() {}
    });
    let ensure = v1::EnsureAgentRequest { forge: Some(forge) };
    let failed = leaves!(
        "ForgeService.EnsureAgent",
        "forge_finished",
        client.forge.ensure_agent(ensure).await?
    );
    let cancel = v1::CancelForgeRequest {
        name: failed.into_inner().forge.unwrap_or_default().name,
    };
    leaves!(
        "ForgeService.CancelForge",
        "request_received",
        client.forge.cancel_forge(cancel).await?
    );
    let off = v1::SetHotReloadRequest { enabled: false };
    leaves!(
        "ForgeService.SetHotReload",
        "hot_reload_set",
        client.forge.set_hot_reload(off).await?
    );

    let secret = v1::SetSecretRequest {
        secret_id: "key".to_owned(),
        value: "a value of some length".to_owned(),
        audience: vec!["https://api.example.com".to_owned()],
        ..v1::SetSecretRequest::default()
    };
    leaves!(
        "VaultService.SetSecret",
        "secret_set",
        client.vault.set_secret(secret).await?
    );
    let delete = v1::DeleteSecretRequest {
        name: "secrets/key".to_owned(),
        ..v1::DeleteSecretRequest::default()
    };
    leaves!(
        "VaultService.DeleteSecret",
        "secret_deleted",
        client.vault.delete_secret(delete).await?
    );

    let rotate = v1::RotateMasterKeyRequest {};
    leaves!(
        "VaultService.RotateMasterKey",
        "master_key_rotated",
        client.vault.rotate_master_key(rotate).await?
    );

    let put = v1::PutEntryRequest {
        name: "spaces/kb/entries/one".to_owned(),
        value: b"1".to_vec(),
        ..v1::PutEntryRequest::default()
    };
    leaves!(
        "MemoryService.PutEntry",
        "request_received",
        client.memory.put_entry(put).await?
    );
    let delete = v1::DeleteEntryRequest {
        name: "spaces/kb/entries/one".to_owned(),
        ..v1::DeleteEntryRequest::default()
    };
    leaves!(
        "MemoryService.DeleteEntry",
        "request_received",
        client.memory.delete_entry(delete).await?
    );

    let token = v1::CreateTokenRequest {
        principal: "guest".to_owned(),
        role: v1::Role::Caller.into(),
        ..v1::CreateTokenRequest::default()
    };
    let made = leaves!(
        "SystemService.CreateToken",
        "token_created",
        client.system.create_token(token).await?
    );
    let revoke = v1::RevokeTokenRequest {
        name: made.into_inner().token.unwrap().name,
        ..v1::RevokeTokenRequest::default()
    };
    leaves!(
        "SystemService.RevokeToken",
        "token_revoked",
        client.system.revoke_token(revoke).await?
    );
    let engage = v1::EngageLockRequest::default();
    leaves!(
        "SystemService.EngageLock",
        "lock_engaged",
        client.system.engage_lock(engage).await?
    );
    let release = v1::ReleaseLockRequest {};
    leaves!(
        "SystemService.ReleaseLock",
        "lock_released",
        client.system.release_lock(release).await?
    );

    let elsewhere = ELSEWHERE.into_iter().map(|(method, _)| method);
    let others = READS.into_iter().chain(CALLS).chain(elsewhere);
    recorded.extend(others.map(str::to_owned));
    let missing: Vec<_> = methods()?.difference(&recorded).cloned().collect();
    assert!(
        missing.is_empty(),
        "{missing:?}: a method that reads goes into READS; one that changes something gets a case here, and its record"
    );
    Ok(())
}
