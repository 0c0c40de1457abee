//! How a policy comes into force, and how it does not.

use anyhow::{Context as _, ensure};
use nexus_proto::v1;
use nexus_proto::v1::policy::Source;
use nexus_tests::Host;
use nexus_tests::client::reason;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tonic::Code;

use crate::desk::{Desk, SHIPPED, last};

const OPEN: &str = r#"@id("open") permit (principal, action, resource);"#;

#[tokio::test]
async fn a_policy_holds_at_once_and_after_kill_9_and_the_trail_says_who_changed_it()
-> anyhow::Result<()> {
    let mut desk = Desk::with("").await?;
    let shipped = desk.policy().await?;
    ensure!(shipped.source() == Source::Shipped && shipped.text == SHIPPED);
    ensure!(shipped.schema.contains("chain_class") && shipped.rules.len() > 5);
    let waiting = desk.client.invoke("trader", &desk.order()).await?;
    ensure!(waiting.approvals.len() == 1, "{waiting:?}");

    let open = desk.set(OPEN).await?;
    ensure!(
        open.source() == Source::Set && open.rules == ["open"],
        "{open:?}"
    );
    ensure!(open.version != shipped.version && open.principal == "operator");
    // What was asked under the old one is withdrawn, and says why.
    let asked = desk.client.approval(&waiting.approvals[0]).await?;
    ensure!(asked.state() == v1::approval::State::Cancelled, "{asked:?}");
    ensure!(asked.cancel_reason == "the policy changed", "{asked:?}");
    desk.client.ended(&waiting.name).await?;
    ensure!(desk.origin.received().is_empty());
    let output = desk.client.output("trader", &desk.order()).await?;
    ensure!(last(&output).get("ok").is_some(), "{output}");

    let changes = desk.events("policy_set").await?;
    let [change] = changes.as_slice() else {
        anyhow::bail!("one change, not {changes:?}")
    };
    let detail: Value = serde_json::from_str(&change.detail)?;
    ensure!(
        detail["old"] == shipped.version && detail["new"] == open.version,
        "{detail}"
    );
    ensure!(
        change.principal == "operator" && detail["source"] == "set",
        "{change:?}"
    );

    desk.host = desk.host.kill_and_restart()?;
    desk.client = desk.host.operator().await?;
    let again = desk.policy().await?;
    ensure!(again == open, "{again:?}");

    // An etag from before does not replace it; going back is a change like any other.
    let mut back = v1::SetPolicyRequest {
        use_shipped: true,
        etag: shipped.etag,
        ..v1::SetPolicyRequest::default()
    };
    let stale = desk.client.policy.set_policy(back.clone()).await;
    let stale = stale.err().context("a stale etag")?;
    ensure!(
        stale.code() == Code::Aborted && reason(&stale) == "STALE_ETAG",
        "{stale:?}"
    );
    back.etag = open.etag;
    let back = desk.client.policy.set_policy(back).await?.into_inner();
    ensure!(back.version == shipped.version && back.source() == Source::Shipped);
    ensure!(desk.events("policy_set").await?.len() == 2);
    let waiting = desk.client.invoke("trader", &desk.order()).await?;
    ensure!(waiting.approvals.len() == 1, "{waiting:?}");
    Ok(())
}

#[tokio::test]
async fn what_is_no_policy_is_refused_and_the_old_one_stays() -> anyhow::Result<()> {
    let mut desk = Desk::with("").await?;
    let before = desk.policy().await?;
    let typo = SHIPPED.replace("context.approvals", "context.aprovals");
    for text in [
        "permit everything;",
        typo.as_str(),
        "",
        &format!("{OPEN}{OPEN}"),
    ] {
        let refused = desk.set(text).await.err().context("a refusal")?;
        ensure!(refused.code() == Code::InvalidArgument, "{refused:?}");
        if !text.is_empty() {
            ensure!(reason(&refused) == "INVALID_POLICY", "{refused:?}");
        }
    }
    let refusals = desk.events("policy_refused").await?;
    ensure!(refusals.len() == 3, "{refusals:?}");
    ensure!(refusals[1].outcome.contains("aprovals"), "{refusals:?}");
    // Only looked at: nothing comes into force, and nothing is recorded.
    let look = v1::SetPolicyRequest {
        text: OPEN.to_owned(),
        validate_only: true,
        ..v1::SetPolicyRequest::default()
    };
    let seen = desk.client.policy.set_policy(look).await?.into_inner();
    ensure!(seen.rules == ["open"]);
    ensure!(desk.policy().await? == before);
    ensure!(desk.events("policy_set").await?.is_empty());

    // The same without a host.
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("typo.cedar");
    std::fs::write(&file, &typo)?;
    let path = file.to_str().context("a path")?;
    let checked = desk.host.nexus(&["policy", "check", path])?;
    ensure!(checked.status.code() == Some(1), "{checked:?}");
    ensure!(
        String::from_utf8_lossy(&checked.stderr).contains("aprovals"),
        "{checked:?}"
    );
    std::fs::write(&file, SHIPPED)?;
    let checked = desk.host.nexus(&["policy", "check", path])?;
    ensure!(checked.status.success(), "{checked:?}");
    ensure!(String::from_utf8_lossy(&checked.stdout).contains(&before.version));
    Ok(())
}

fn hang_up(host: &Host) -> anyhow::Result<()> {
    let pid = i32::try_from(host.pid()).ok().and_then(Pid::from_raw);
    Ok(kill_process(pid.context("a process id")?, Signal::HUP)?)
}

#[tokio::test]
async fn a_policy_file_is_read_again_when_the_host_is_told_so_and_not_by_halves()
-> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("policy.cedar");
    std::fs::write(&file, SHIPPED)?;
    let mut desk = Desk::with(&format!("policy = {file:?}")).await?;
    let first = desk.policy().await?;
    ensure!(first.source() == Source::File, "{first:?}");

    // The file is the one place to change it.
    let elsewhere = desk.set(OPEN).await.err().context("a refusal")?;
    ensure!(
        elsewhere.code() == Code::FailedPrecondition,
        "{elsewhere:?}"
    );
    ensure!(reason(&elsewhere) == "POLICY_IS_A_FILE", "{elsewhere:?}");

    let request = v1::WatchEventsRequest::default();
    let mut events = desk.client.audit.watch_events(request).await?.into_inner();
    std::fs::write(&file, &SHIPPED[..SHIPPED.len() - 40])?;
    hang_up(&desk.host)?;
    while let Some(event) = events.message().await? {
        if event.kind == "policy_refused" {
            break;
        }
    }
    let kept = desk.policy().await?;
    ensure!(
        kept.version == first.version && kept.etag == first.etag,
        "{kept:?}"
    );
    ensure!(kept.refused.contains("does not parse"), "{kept:?}");
    let shown = desk.host.nexus(&["policy", "show"])?;
    ensure!(
        String::from_utf8_lossy(&shown.stderr).contains("was refused"),
        "{shown:?}"
    );

    std::fs::write(&file, OPEN)?;
    hang_up(&desk.host)?;
    while let Some(event) = events.message().await? {
        if event.kind == "policy_set" {
            break;
        }
    }
    // The change is durable before it holds; whoever changes it next comes after it.
    desk.set(OPEN).await.err().context("still a file's")?;
    let open = desk.policy().await?;
    ensure!(
        open.rules == ["open"] && open.refused.is_empty(),
        "{open:?}"
    );
    let output = desk.client.output("trader", &desk.order()).await?;
    ensure!(last(&output).get("ok").is_some(), "{output}");

    // A change while the host was down is a change, too.
    std::fs::write(&file, SHIPPED)?;
    desk.host = desk.host.kill_and_restart()?;
    desk.client = desk.host.operator().await?;
    ensure!(desk.policy().await?.version == first.version);
    let changes = desk.events("policy_set").await?;
    ensure!(changes.len() == 2, "{changes:?}");
    Ok(())
}
