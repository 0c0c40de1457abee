//! Sources that attack where they are compiled: T12; and machines on which nothing can be compiled.

use std::path::Path;

use nexus_proto::v1::forge_event::{Detail, State};
use nexus_proto::v1::{
    ForgeAgentRequest, ForgeEvent, ForgeMode, GetAgentRequest, GetStatusRequest, check,
};
use nexus_tests::{Client, Host, client, guests as real};
use prost::Message as _;
use serde_json::json;

use super::guests::manifest;
use super::support::is_well;

const CANARY: &str = "canary-7d1e0b";

/// A source that is an agent, with further items.
fn with(items: &str) -> String {
    format!(
        "use nexus_agent::prelude::*;\n{items}\nexport!(invoke);\nfn invoke(input: Value) -> Result<Value> {{ Ok(input) }}\n"
    )
}

/// The same, and it answers with a text.
fn answering(items: &str, text: &str) -> String {
    format!(
        "use nexus_agent::prelude::*;\n{items}\nexport!(invoke);\nfn invoke(_: Value) -> Result<Value> {{ Ok(json!({text})) }}\n"
    )
}

async fn forge(client: &mut Client, name: &str, source: &str) -> anyhow::Result<Vec<ForgeEvent>> {
    let request = ForgeAgentRequest {
        agent_id: name.to_owned(),
        mode: ForgeMode::Source.into(),
        source: source.to_owned(),
        manifest: manifest(name, ""),
        ..ForgeAgentRequest::default()
    };
    let mut stream = client.forge.forge_agent(request).await?.into_inner();
    let mut events = Vec::new();
    while let Some(event) = stream.message().await? {
        events.push(event);
    }
    Ok(events)
}

/// Whether the bytes hold the canary, or half of it.
fn holds(bytes: &[u8], what: &str) -> bool {
    [what, &what[..what.len() - 3]].iter().any(|part| {
        bytes
            .windows(part.len())
            .any(|window| window == part.as_bytes())
    })
}

/// What the last stage came to.
fn failure(events: &[ForgeEvent]) -> String {
    let last = events.last().expect("a forge tells something");
    assert_eq!(last.state(), State::Failed, "{last:?}");
    match last.detail.as_ref() {
        Some(Detail::Failure(reason)) => reason.clone(),
        Some(Detail::Diagnostics(found)) => found
            .diagnostics
            .iter()
            .map(|one| one.rendered.clone())
            .collect(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn t12_hostile_sources_bring_nothing_of_this_machine_out() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("canary.rs");
    std::fs::write(&file, format!("{CANARY} is no Rust"))?;
    let proper = directory.path().join("proper.rs");
    std::fs::write(&proper, format!("pub const FOUND: &str = \"{CANARY}\";"))?;
    let program = directory.path().join("serve.sh");
    // The variable is in the environment of the host itself.
    std::fs::write(
        &program,
        format!("export NEXUS_CANARY={CANARY}\nexec \"$@\"\n"),
    )?;
    let program = program.to_string_lossy().into_owned();
    let data = directory.path().join("data");
    let mut host = Host::builder()
        .data(&data)
        .through(&["sh", &program])
        .start()?;
    let mut client = host.operator().await?;
    client.deploy(&real::component("echo")).await?;
    // A good source first: what follows is refused for what it does.
    let events = forge(&mut client, "good", &with("")).await?;
    assert!(
        matches!(
            events.last().and_then(|event| event.detail.as_ref()),
            Some(Detail::Published(_))
        ),
        "{:?}",
        events.last()
    );

    let (path, proper) = (file.display(), proper.display());
    let up = "../".repeat(24);
    let token = data.join("operator.token");
    let sources = [
        answering("", &format!("include_str!({:?})", path.to_string())),
        answering(
            "",
            &format!("include_bytes!({:?}).to_vec()", path.to_string()),
        ),
        answering(
            "use core::include_str as q;",
            &format!("q!({:?})", path.to_string()),
        ),
        answering(
            "",
            &format!(
                "include_str!(\"{up}{}\")",
                path.to_string().trim_start_matches('/')
            ),
        ),
        answering("", &format!("include!({:?})", path.to_string())),
        with(&format!("include!({:?});", proper.to_string())),
        with(&format!("#[path = {:?}] mod found;", path.to_string())),
        answering(
            &format!("#[path = {:?}] mod found;", proper.to_string()),
            "found::FOUND",
        ),
        with(&format!(
            "#[doc = include_str!({:?})] pub struct X;",
            path.to_string()
        )),
        answering(
            "macro_rules! m { ($p:expr) => { include_str!($p) } }",
            &format!("m!({:?})", path.to_string()),
        ),
        answering(
            "",
            &format!(
                "include_str!(concat!({:?}, \"/canary.rs\"))",
                directory.path().to_string_lossy()
            ),
        ),
        answering("", &format!("include_str!({:?})", token.to_string_lossy())),
        answering("", "include_str!(\"/proc/self/environ\")"),
        answering("", "include_str!(\"/proc/1/environ\")"),
        answering("", "include_str!(\"/etc/passwd\")"),
        answering("", "env!(\"NEXUS_CANARY\")"),
        answering("", "option_env!(\"NEXUS_CANARY\").unwrap_or(\"not set\")"),
        answering(
            "use core::option_env as q;",
            "q!(\"NEXUS_CANARY\").unwrap_or(\"not set\")",
        ),
        with("extern crate proc_macro;"),
        with("extern crate wit_bindgen;"),
        format!("#![crate_type = \"proc-macro\"]\n{}", with("")),
        format!(
            "#![feature(asm_experimental_arch)]\n{}",
            with(&format!(
                "core::arch::global_asm!(\".incbin \\\"{path}\\\"\");"
            ))
        ),
        with(&format!(
            "#[link(name = \"{path}\", kind = \"static\")] unsafe extern \"C\" {{ fn f(); }}"
        )),
        with("fn f(at: *const u8) -> u8 { unsafe { *at } }"),
        // The interface by which a secret is shown, by the SDK's name and by the contract's.
        with("pub fn f(key: &vault::Secret) -> Result<String> { key.reveal(\"to see it\") }"),
        with("pub use nexus_agent::bindings_reveal;"),
        with(
            "#[link(wasm_import_module = \"nexus:agent/vault-reveal@0.1.0\")] unsafe extern \"C\" { fn reveal(a: i32, b: i32, c: i32, d: i32); }",
        ),
        with(
            "const FOREVER: u64 = { let mut n = 0u64; loop { n = n.wrapping_add(1); if n == u64::MAX { break n; } } }; pub fn f() -> u64 { FOREVER }",
        ),
    ];
    assert!(sources.len() >= 20);
    for (number, source) in sources.iter().enumerate() {
        let name = format!("source-{number}");
        let events = forge(&mut client, &name, source).await?;
        let told: Vec<u8> = events.iter().flat_map(ForgeEvent::encode_to_vec).collect();
        let echoed = source.contains(CANARY);
        assert!(!echoed && !holds(&told, CANARY), "the events of {source}");
        assert!(!holds(&told, host.token()), "the events of {source}");
        assert!(!holds(&told, "root:x:0"), "the events of {source}");
        let get = GetAgentRequest {
            name: format!("agents/{name}"),
            ..GetAgentRequest::default()
        };
        match client.agents.get_agent(get).await {
            // Some are harmless once they are confined: a variable that is not set is no error.
            Ok(_) => {
                let answer = client.output(&name, &json!({})).await?.to_string();
                assert!(
                    !holds(answer.as_bytes(), CANARY),
                    "{source} answers {answer}"
                );
            }
            Err(status) => {
                assert_eq!(status.code(), tonic::Code::NotFound);
                failure(&events);
            }
        }
    }
    // Whatever was built is kept by its digest, published or not.
    for file in files(&data)? {
        let name = file.to_string_lossy().into_owned();
        assert!(!holds(&std::fs::read(&file)?, CANARY), "{name}");
    }
    is_well(&mut host, &mut client).await
}

/// Every file below a directory.
fn files(directory: &Path) -> anyhow::Result<Vec<std::path::PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else if path.is_file() {
            found.push(path);
        }
    }
    Ok(found)
}

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
