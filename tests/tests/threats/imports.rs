//! Components that would do more than their manifest says: T14.

use nexus_tests::client::reason;
use nexus_tests::{Host, guests as real, probe};
use tonic::Code;

use super::guests::{NULL, agent_of, module};

/// A world of an agent with one more import, after the package that it comes from.
fn guest(package: &str, import: &str) -> String {
    format!(
        "package test:guest; {package} world guest {{ {import}; export nexus:agent/handler@0.1.0; }}"
    )
}

#[tokio::test]
async fn t14_an_import_beyond_the_manifest_is_refused_before_the_component_runs()
-> anyhow::Result<()> {
    let host = Host::start()?;
    let mut client = host.operator().await?;
    // What each component does when it starts would be told as another error.
    let call = |name: &str| {
        let import = format!("(import \"{name}\" \"f\" (func $extra))");
        module(
            "17",
            &import,
            "(func $start (unreachable)) (start $start)",
            NULL,
        )
    };
    let mut components = Vec::new();
    let foreign = [
        ("wasi:sockets", "tcp", "0.2.6"),
        ("wasi:sockets", "udp", "0.2.0"),
        ("wasi:sockets", "ip-name-lookup", "0.2.0"),
        ("wasi:http", "outgoing-handler", "0.2.0"),
        ("wasi:keyvalue", "store", "0.2.0"),
        ("wasi:filesystem", "raw-disk", "0.2.0"),
        ("wasi:cli", "stdout", "0.3.0"),
        ("wasi:config", "runtime", "0.2.0"),
        ("nexus:other", "http", "0.1.0"),
        ("evil:tools", "shell", "1.0.0"),
    ];
    for (package, interface, version) in foreign {
        let name = format!("{package}/{interface}@{version}");
        let offered =
            format!("package {package}@{version} {{ interface {interface} {{ f: func(); }} }}");
        let wit = guest(&offered, &format!("import {name}"));
        components.push((name.clone(), agent_of("extra", "", &wit, &call(&name))));
    }
    let bare = module(
        "17",
        "(import \"$root\" \"system\" (func $extra))",
        "(func $start (unreachable)) (start $start)",
        NULL,
    );
    components.push((
        "system".to_owned(),
        agent_of("extra", "", &guest("", "import system: func()"), &bare),
    ));
    // The real guest imports every capability; each time the manifest lacks one.
    let all = [
        probe::http("https://example.com"),
        probe::secret("key", &["https://example.com"]),
        probe::memory("space"),
        probe::peer("callee"),
    ];
    for (lacking, interface) in ["http", "vault", "memory", "bus"].into_iter().enumerate() {
        let granted: Vec<&str> = (0..all.len())
            .filter(|n| *n != lacking)
            .map(|n| all[n].as_str())
            .collect();
        let manifest = probe::bare_manifest("extra", &granted);
        components.push((
            format!("nexus:agent/{interface}@0.1.0"),
            real::with_manifest("probe", &manifest),
        ));
    }
    assert_eq!(components.len(), 15);
    for (import, component) in components {
        let status = client.upload(&component, Default::default()).await.err();
        let status = status.unwrap_or_else(|| panic!("{import} was let in"));
        assert_eq!(status.code(), Code::InvalidArgument, "{import}: {status}");
        assert_eq!(reason(&status), "MANIFEST_MISMATCH", "{import}: {status}");
        assert!(
            status.message().contains(&import),
            "{import}: {}",
            status.message()
        );
    }
    let request = nexus_proto::v1::ListAgentsRequest::default();
    let agents = client
        .agents
        .list_agents(request)
        .await?
        .into_inner()
        .agents;
    assert!(agents.is_empty(), "{agents:?}");
    Ok(())
}
