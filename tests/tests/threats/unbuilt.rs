//! Machines on which nothing can be compiled.

use nexus_proto::v1::{GetStatusRequest, check};
use nexus_tests::{Host, client, guests as real};

use super::hostile::{failure, forge, with};
use super::support::is_well;

#[tokio::test]
async fn without_a_compiler_a_forge_says_what_to_install_and_everything_else_works()
-> anyhow::Result<()> {
    let config = "[forge]\nrustc = \"/nonexistent/rustc\"\ncargo = \"/nonexistent/cargo\"\n";
    let mut host = Host::builder().config(config).start()?;
    let mut client = host.operator().await?;
    client.deploy(&real::component("echo")).await?;
    let reason = failure(&forge(&mut client, "forged", &with("")).await?);
    assert!(reason.contains("/nonexistent/rustc"), "{reason}");
    assert!(reason.contains("rustup"), "{reason}");
    let status = client
        .system
        .get_status(GetStatusRequest {})
        .await?
        .into_inner();
    let missing = status
        .checks
        .iter()
        .find(|check| check.state() == check::State::Missing);
    assert!(
        missing.is_some_and(|check| check.message.contains("/nonexistent/rustc")),
        "{status:?}"
    );
    is_well(&mut host, &mut client).await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_sandbox_nothing_is_compiled_unless_the_operator_says_so() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let data = directory.path().join("data");
    // An agent from before, when there was a sandbox.
    let host = Host::builder().data(&data).start()?;
    host.operator()
        .await?
        .deploy(&real::component("echo"))
        .await?;
    host.stop()?;

    // A kernel without Landlock answers its calls as this filter does.
    let without = env!("CARGO_BIN_EXE_without-landlock");
    let mut host = Host::builder().data(&data).through(&[without]).start()?;
    let mut client = host.operator().await?;
    let reason = failure(&forge(&mut client, "forged", &with("")).await?);
    assert!(
        reason.contains("Landlock") && reason.contains("bubblewrap"),
        "{reason}"
    );
    // A component that has to be compiled is refused as well, and the one from before answers.
    let status = client
        .upload(&real::component("callee"), Default::default())
        .await
        .unwrap_err();
    assert_eq!(client::reason(&status), "NO_SANDBOX", "{status}");
    assert!(status.message().contains("bubblewrap"), "{status}");
    is_well(&mut host, &mut client).await?;
    host.stop()?;

    // An operator who trusts every source can say so.
    let config = "[forge]\nallow_unsandboxed = true\n";
    let host = Host::builder()
        .data(&data)
        .config(config)
        .through(&[without])
        .start()?;
    host.operator()
        .await?
        .deploy(&real::component("callee"))
        .await?;
    Ok(())
}
