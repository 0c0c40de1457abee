//! The rules of the house, checked: which crate may know which, what may reach outside, what may be
//! in the dependency tree, how large a file grows. Each failure names the file to look at.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use serde_json::Value;

/// The workspace, from what knows nothing to what knows all. A crate may use those before it.
const ORDER: [&str; 15] = [
    "nexus-proto",
    "nexus-agent",
    "nexus-manifest",
    "nexus-store",
    "nexus-audit",
    "nexus-vault",
    "nexus-gate",
    "nexus-effects",
    "nexus-sandbox",
    "nexus-runtime",
    "nexus-capabilities",
    "nexus-forge",
    "nexus-server",
    "nexus-tests",
    "nexus-fuzz",
];

/// Crates that can send an HTTP request.
const HTTP_CLIENTS: [&str; 14] = [
    "attohttpc",
    "awc",
    "curl",
    "h2",
    "h3",
    "http-client",
    "hyper",
    "hyper-util",
    "isahc",
    "minreq",
    "reqwest",
    "surf",
    "ureq",
    "wasmtime-wasi-http",
];

/// Who may depend on an HTTP client, and why. `tonic`, the transport of the gRPC contract, is not
/// in `HTTP_CLIENTS`; who may use it is in `GRPC`.
const MAY_SEND: [(&str, &str); 3] = [
    (
        "nexus-effects",
        "the one way out of the host, behind a permit",
    ),
    (
        "nexus-server",
        "serves by hyper's server half; `REACHES_OUT` holds the client half",
    ),
    ("nexus-tests", "plays the world outside, and holds no agent"),
];

/// Who may depend on `tonic`, and why.
const GRPC: [(&str, &str); 3] = [
    ("nexus-proto", "clients and servers are generated for it"),
    ("nexus-server", "serves the contract, and its CLI calls it"),
    ("nexus-tests", "calls the served binary"),
];

/// What the core must not even reach through others: gRPC, the CLI, language models.
const ABOVE_THE_CORE: [&str; 6] = [
    "tonic",
    "prost",
    "clap",
    "nexus-proto",
    "nexus-forge",
    "nexus-server",
];

/// Dependencies whose default features bring a TLS provider, a sender or a fetcher of their own.
const WITHOUT_DEFAULTS: [&str; 9] = [
    "hyper-rustls",
    "jsonschema",
    "rcgen",
    "reqwest",
    "rustls",
    "tokio-rustls",
    "wasmtime",
    "wasmtime-wasi",
    "wasmtime-wasi-http",
];

/// Features that must stay off wherever in the tree they are.
const FEATURES_OFF: [(&str, &str); 8] = [
    ("hyper-rustls", "aws-lc-rs"),
    ("jsonschema", "resolve-file"),
    ("jsonschema", "resolve-http"),
    ("rcgen", "aws_lc_rs"),
    ("rustls", "aws_lc_rs"),
    ("rustls", "aws-lc-rs"),
    ("tonic", "tls-aws-lc"),
    ("wasmtime-wasi-http", "default-send-request"),
];

/// What opens a connection, asks the resolver or sends a request.
const REACHES_OUT: [&str; 8] = [
    "hyper::client",
    "hyper_util::client",
    "TcpStream::connect",
    "TcpSocket::new",
    "UdpSocket::bind",
    "UnixStream::connect",
    "lookup_host(",
    ".to_socket_addrs(",
];

/// Who may reach something on this machine all the same, by what, and why.
const REACHES_THE_HOST: [(&str, &str, &str); 1] = [(
    "host/server/src/cli/lock.rs",
    "UnixStream::connect",
    "the command line, in its own process, engages the emergency lock of its host",
)];

/// Where a listener is opened, and why no agent reaches it.
const LISTENS: [(&str, &str); 2] = [
    (
        "host/server/src/demo/market.rs",
        "the demo's far side, in a process of its own, for agents to reach",
    ),
    (
        "host/server/src/serve.rs",
        "the host's own; its address goes to egress as one of `own_listeners`",
    ),
];

/// Where `unsafe` is allowed, and why.
const UNSAFE: [(&str, &str); 2] = [
    ("guest-sdk/src/lib.rs", "the generated bindings below it"),
    (
        "host/runtime/src/cache.rs",
        "maps machine code that this host wrote and authenticated",
    ),
];

/// Files that a tool writes, and that nobody reads from end to end.
const GENERATED: [&str; 1] = ["guest-sdk/src/bindings.rs"];

#[test]
fn arrows_point_to_crates_further_down() {
    let members = members();
    let listed: BTreeSet<&str> = ORDER.into();
    let found: BTreeSet<&str> = members.iter().map(|member| text(member, "name")).collect();
    assert_eq!(
        found, listed,
        "ORDER and the workspace name different crates"
    );

    let place = |name: &str| ORDER.iter().position(|other| *other == name);
    let mut wrong = Vec::new();
    for member in &members {
        let from = text(member, "name");
        for dependency in list(member, "dependencies") {
            let to = text(dependency, "name");
            if place(to).is_some_and(|to| Some(to) >= place(from)) {
                wrong.push(format!("{from} -> {to}"));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "arrows that point the wrong way: {wrong:?}"
    );
}

#[test]
fn only_effects_may_hold_an_http_client() {
    for (name, to) in direct(&HTTP_CLIENTS) {
        assert!(
            MAY_SEND.iter().any(|(allowed, _)| *allowed == name),
            "{name} depends on {to}: what leaves the host goes through nexus-effects"
        );
    }
}

#[test]
fn only_the_contract_and_its_server_speak_grpc() {
    for (name, to) in direct(&["tonic"]) {
        assert!(
            GRPC.iter().any(|(allowed, _)| *allowed == name),
            "{name} depends on {to}: the contract is served by nexus-server"
        );
    }
}

#[test]
fn only_effects_opens_connections() {
    for file in rust_files(&["host"]) {
        let relative = relative(&file);
        if relative.starts_with("host/effects/") || !relative.contains("/src/") {
            continue;
        }
        let source = read(&file);
        // What stands below is tests, which may call the servers that they start.
        let code = source.split("#[cfg(test)]").next().unwrap_or(&source);
        let known = |way: &str| {
            let mut listed = REACHES_THE_HOST.iter();
            listed.any(|(file, allowed, _)| *file == relative && *allowed == way)
        };
        for way in REACHES_OUT {
            assert!(
                !code.contains(way) || known(way),
                "{relative} uses {way}: what leaves the host goes through nexus-effects"
            );
        }
    }
}

#[test]
fn every_listener_is_known_to_egress() {
    let mut found: Vec<String> = rust_files(&["host"])
        .iter()
        .filter(|file| relative(file).contains("/src/"))
        .filter(|file| {
            let source = read(file);
            let code = source.split("#[cfg(test)]").next().unwrap_or(&source);
            code.contains("TcpListener::bind") || code.contains("TcpSocket::new")
        })
        .map(|file| relative(file))
        .collect();
    found.sort();
    assert_eq!(found, LISTENS.map(|(file, _)| file));
}

#[test]
fn unsafe_is_where_it_is_listed() {
    let mut found: Vec<String> = rust_files(&["host", "proto", "guest-sdk", "tests"])
        .iter()
        .filter(|file| {
            let source = read(file);
            let mut lines = source.lines().map(str::trim);
            lines.any(|line| line == "unsafe_code," || line.starts_with("#[expect(unsafe_code"))
        })
        .map(|file| relative(file))
        .collect();
    found.sort();
    assert_eq!(found, UNSAFE.map(|(file, _)| file));
}

#[test]
fn gate_effects_and_runtime_know_no_grpc_no_cli_and_no_model() {
    for core in ["nexus-gate", "nexus-effects", "nexus-runtime"] {
        let reached = reach(core);
        for above in ABOVE_THE_CORE {
            assert!(!reached.contains(above), "{core} reaches {above}");
        }
    }
    let server = reach("nexus-server");
    assert!(server.contains("tonic"), "the search finds what is there");
}

#[test]
fn the_lock_file_holds_nothing_banned() {
    let lock = locked();
    for ban in bans() {
        let (name, floor) = match ban.split_once("@<") {
            Some((name, floor)) => (name, Some(version(floor))),
            None => (ban.as_str(), None),
        };
        for found in lock.iter().filter(|(found, _)| found == name) {
            let bad = floor
                .as_ref()
                .is_none_or(|floor| version(&found.1) < *floor);
            assert!(
                !bad,
                "deny.toml bans {ban}, Cargo.lock has {name} {}",
                found.1
            );
        }
    }
}

#[test]
fn default_features_that_bring_a_second_way_out_are_off() {
    for member in members() {
        for dependency in list(member, "dependencies") {
            let name = text(dependency, "name");
            let defaults = dependency["uses_default_features"].as_bool();
            assert!(
                !WITHOUT_DEFAULTS.contains(&name) || defaults == Some(false),
                "{} takes {name} with its default features",
                text(member, "name")
            );
        }
    }
    let on: BTreeSet<(&str, &str)> = list(&metadata()["resolve"], "nodes")
        .iter()
        .flat_map(|node| {
            let name = name_of(text(node, "id"));
            let features = list(node, "features").iter().filter_map(Value::as_str);
            features.map(move |feature| (name, feature))
        })
        .collect();
    for off in FEATURES_OFF {
        assert!(!on.contains(&off), "{} is built with {}", off.0, off.1);
    }
}

#[test]
fn every_crate_takes_the_workspace_lints_and_licence() {
    for member in members() {
        let manifest = read(Path::new(text(member, "manifest_path")));
        let name = text(member, "name");
        assert!(
            manifest.contains("[lints]\nworkspace = true"),
            "{name} does not take the workspace's lints"
        );
        assert_eq!(text(member, "license"), "Apache-2.0", "{name}");
    }
}

#[test]
fn files_stay_readable() {
    let mut sizes: Vec<(usize, String)> = rust_files(&["host", "proto", "guest-sdk", "tests"])
        .iter()
        .filter(|file| !GENERATED.contains(&relative(file).as_str()))
        .map(|file| (read(file).lines().count(), relative(file)))
        .collect();
    sizes.sort();
    let median = sizes[sizes.len() / 2].0;
    assert!(
        median <= 200,
        "half of the files have more than {median} lines"
    );
    let large = sizes.iter().filter(|(lines, _)| *lines > 500);
    let large: Vec<&(usize, String)> = large.collect();
    assert!(
        large.len() * 10 <= sizes.len(),
        "more than one file in ten has over 500 lines: {large:?}"
    );
}

/// Pairs of a workspace member and one of `crates` that it names as a normal dependency.
fn direct(crates: &[&str]) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for member in members() {
        for dependency in list(member, "dependencies") {
            let name = text(dependency, "name");
            if dependency["kind"].is_null() && crates.contains(&name) {
                pairs.push((text(member, "name").to_owned(), name.to_owned()));
            }
        }
    }
    pairs
}

/// The names of all that is linked into `start`.
fn reach(start: &str) -> BTreeSet<&'static str> {
    let nodes: BTreeMap<&str, &Value> = list(&metadata()["resolve"], "nodes")
        .iter()
        .map(|node| (text(node, "id"), node))
        .collect();
    let mut left: Vec<&str> = nodes
        .keys()
        .copied()
        .filter(|id| name_of(id) == start)
        .collect();
    assert_eq!(left.len(), 1, "{start} is in the workspace once");
    let mut seen = BTreeSet::new();
    while let Some(id) = left.pop() {
        if !seen.insert(id) {
            continue;
        }
        for dependency in list(nodes[id], "deps") {
            let kinds = list(dependency, "dep_kinds");
            if kinds.iter().any(|kind| kind["kind"].is_null()) {
                left.push(text(dependency, "pkg"));
            }
        }
    }
    seen.into_iter().map(name_of).collect()
}

/// The name of the package with this id.
fn name_of(id: &str) -> &'static str {
    static NAMES: OnceLock<BTreeMap<&str, &str>> = OnceLock::new();
    let names = NAMES.get_or_init(|| {
        let packages = list(metadata(), "packages").iter();
        packages
            .map(|package| (text(package, "id"), text(package, "name")))
            .collect()
    });
    names[id]
}

/// The packages of the workspace.
fn members() -> Vec<&'static Value> {
    let metadata = metadata();
    let ids: BTreeSet<&str> = list(metadata, "workspace_members")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let packages = list(metadata, "packages").iter();
    packages
        .filter(|package| ids.contains(text(package, "id")))
        .collect()
}

/// What `cargo metadata` says of the workspace as the lock file has it, on this platform.
fn metadata() -> &'static Value {
    static METADATA: OnceLock<Value> = OnceLock::new();
    METADATA.get_or_init(|| {
        let rustc = output(Command::new("rustc").arg("-vV"));
        let host = rustc.lines().find_map(|line| line.strip_prefix("host: "));
        let text = output(
            Command::new(env!("CARGO"))
                .args([
                    "metadata",
                    "--format-version=1",
                    "--locked",
                    "--filter-platform",
                ])
                .arg(host.expect("rustc names its host"))
                .current_dir(root()),
        );
        serde_json::from_str(&text).expect("cargo metadata prints JSON")
    })
}

/// Name and version of every package in the lock file.
fn locked() -> Vec<(String, String)> {
    let lock = read(&root().join("Cargo.lock"));
    let packages = lock.split("[[package]]").skip(1);
    packages
        .map(|package| {
            let field = |key: &str| {
                let line = package.lines().find_map(|line| line.strip_prefix(key));
                let value = line.expect("a package has a name and a version");
                value.trim_matches(['"', ' ', '=']).to_owned()
            };
            (field("name"), field("version"))
        })
        .collect()
}

/// The entries of deny.toml's list of bans: a name, or `name@<version`.
fn bans() -> Vec<String> {
    let deny = read(&root().join("deny.toml"));
    let entries = deny
        .lines()
        .filter_map(|line| line.trim().strip_prefix("{ crate = \""));
    let bans: Vec<String> = entries
        .filter_map(|entry| entry.split('"').next())
        .map(str::to_owned)
        .collect();
    assert!(
        bans.len() > 10,
        "deny.toml is no longer written one ban a line"
    );
    bans
}

/// The numbers of a version, for comparison.
fn version(text: &str) -> Vec<u64> {
    let release = text.split(['-', '+']).next().unwrap_or(text);
    release
        .split('.')
        .filter_map(|number| number.parse().ok())
        .collect()
}

/// Every Rust file below `folders`, build directories left out.
fn rust_files(folders: &[&str]) -> Vec<PathBuf> {
    let mut left: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    let mut files = Vec::new();
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the repository can be read") {
            let path = entry
                .expect("a folder of the repository can be read")
                .path();
            if path.is_dir() {
                if !path.ends_with("target") {
                    left.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files
}

fn root() -> &'static Path {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests
        .parent()
        .expect("the folder tests/ is in the repository")
}

fn relative(file: &Path) -> String {
    let path = file
        .strip_prefix(root())
        .expect("the file is in the repository");
    path.display().to_string()
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn output(command: &mut Command) -> String {
    let output = command
        .output()
        .expect("the toolchain that runs the tests can be called");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).expect("tools print UTF-8")
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key]
        .as_str()
        .unwrap_or_else(|| panic!("no text {key}"))
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key]
        .as_array()
        .unwrap_or_else(|| panic!("no list {key}"))
}
