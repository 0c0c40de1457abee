//! `--output json`: every command prints JSON with the members that scripts rely on.

use nexus_proto::v1;
use nexus_tests::{Host, guests};
use serde_json::Value;

use crate::{code, fed, stderr};

const AGENT: &[&str] = &[
    "name",
    "state",
    "summary",
    "version",
    "generation",
    "componentDigest",
    "permissions",
    "permissionsDigest",
    "owner",
];
const INVOCATION: &[&str] = &[
    "name",
    "agent",
    "generation",
    "state",
    "approvals",
    "principal",
];
const EVENT: &[&str] = &[
    "name",
    "sequence",
    "previousHash",
    "hash",
    "record",
    "eventTime",
    "kind",
    "outcome",
    "detail",
];

/// A command, where in its output the members stand, and which they are.
type Case<'a> = (&'a [&'a str], &'a str, &'a [&'a str]);

#[tokio::test(flavor = "multi_thread")]
async fn every_command_prints_json_with_the_members_that_scripts_use() -> anyhow::Result<()> {
    let host = Host::start()?;
    let mut operator = host.operator().await?;
    operator.deploy(&guests::component("echo")).await?;
    let probe = operator
        .upload(
            &guests::component("probe"),
            v1::DeployAgentMetadata::default(),
        )
        .await?;
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("callee.wasm");
    std::fs::write(&file, guests::component("callee"))?;
    let file = file.display().to_string();

    let key = fed(
        &host,
        &[
            "vault",
            "set",
            "key",
            "--audience",
            "https://a.example.com",
            "--output",
            "json",
        ],
        b"a value that nobody sees\n",
    )?;
    assert_eq!(code(&key), Some(0), "{}", stderr(&key));
    assert!(!String::from_utf8_lossy(&key.stdout).contains("nobody sees"));

    let cases: &[Case<'_>] = &[
        (&["invoke", "echo", "[1]"], "", INVOCATION),
        (&["invoke", "echo", "[1]"], "/success", &["output"]),
        (
            &["agents", "deploy", &file],
            "",
            &["state", "agent", "permissions", "permissionsDigest"],
        ),
        (&["agents", "list"], "/agents/0", AGENT),
        (&["agents", "show", "echo"], "/agent", AGENT),
        (
            &["agents", "show", "echo"],
            "/generations/0",
            &["name", "generation", "componentDigest", "state"],
        ),
        (&["invocations", "list"], "/invocations/0", INVOCATION),
        (
            &["approvals", "list"],
            "/approvals/0",
            &[
                "name",
                "digest",
                "state",
                "rendering",
                "kind",
                "agent",
                "target",
                "expireTime",
            ],
        ),
        (
            &["approvals", "show", &probe.approval],
            "",
            &["name", "digest", "rendering"],
        ),
        (
            &["approvals", "deny", &probe.approval, "--reason", "no"],
            "/decisions/0",
            &["principal", "verdict", "reason"],
        ),
        (
            &["memory", "put", "notes", "a", "text"],
            "",
            &["name", "revision", "etag"],
        ),
        (
            &["memory", "get", "notes", "a"],
            "",
            &["name", "value", "revision"],
        ),
        (
            &["memory", "list", "notes"],
            "/entries/0",
            &["name", "revision"],
        ),
        (&["memory", "delete", "notes", "a"], "", &["name"]),
        (&["vault", "list"], "/secrets/0", &["name", "audience"]),
        (&["vault", "delete", "key"], "", &["name"]),
        (
            &["tokens", "create", "--role", "caller"],
            "",
            &["token", "secret"],
        ),
        (
            &["tokens", "list"],
            "/tokens/0",
            &["name", "principal", "role", "createTime"],
        ),
        (&["audit", "list"], "/events/0", EVENT),
        (
            &["audit", "checkpoint"],
            "",
            &[
                "sequence",
                "hash",
                "createTime",
                "signature",
                "keyId",
                "verifyingKey",
            ],
        ),
        (
            &["audit", "verify"],
            "",
            &["sound", "records", "headHash", "checkpoints", "faults"],
        ),
        (&["forge", "status"], "", &["enabled"]),
        (&["forge", "list"], "", &["forgedAgents"]),
        (&["agents", "remove", "echo"], "", &["name"]),
    ];
    for (arguments, place, members) in cases {
        let output = host.nexus(&[*arguments, &["--output", "json"]].concat())?;
        assert_eq!(code(&output), Some(0), "{arguments:?}: {}", stderr(&output));
        let printed: Value = serde_json::from_slice(&output.stdout)?;
        let Some(object) = printed.pointer(place).and_then(Value::as_object) else {
            panic!("{arguments:?} printed no object at {place:?}: {printed:#}");
        };
        for member in *members {
            assert!(
                object.contains_key(*member),
                "{arguments:?} has no {member}: {printed:#}"
            );
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_leave_the_output_empty() -> anyhow::Result<()> {
    let host = Host::start()?;
    for arguments in [
        &["agents", "show", "nobody"][..],
        &["invoke", "nobody"],
        &["approvals", "show", "apr-1"],
        &["memory", "get", "notes", "nothing"],
    ] {
        let output = host.nexus(&[arguments, &["--output", "json"]].concat())?;
        assert_eq!(code(&output), Some(1), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        assert!(
            stderr(&output).starts_with("error: "),
            "{}",
            stderr(&output)
        );
    }
    Ok(())
}
