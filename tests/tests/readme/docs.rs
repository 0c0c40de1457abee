//! The tables of `docs/`, compared with what they are about.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nexus_proto::v1::forge_event::FailureReason;
use nexus_tests::guests::root;
use nexus_tests::host::binary;

use crate::markdown::{blocks, code, links, rows};

fn read(path: &str) -> String {
    let file = root().join(path);
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn nexus(arguments: &[&str], directory: &Path) -> Output {
    Command::new(binary())
        .args(arguments)
        .current_dir(directory)
        .env("NEXUS_DATA", directory)
        .output()
        .expect("nexus starts")
}

/// The public fields of each struct of a source file, by the struct's name.
fn fields(source: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut structs = BTreeMap::new();
    let mut current: Option<String> = None;
    for line in source.lines() {
        let words = line
            .trim()
            .trim_start_matches("pub(crate) ")
            .trim_start_matches("pub ");
        if let Some(name) = words.strip_prefix("struct ") {
            let name = name.trim_end_matches(" {").to_owned();
            structs.insert(name.clone(), BTreeSet::new());
            current = Some(name);
        } else if line == "}" {
            current = None;
        } else if let (Some(name), Some((field, _))) = (&current, words.split_once(": "))
            && line.trim_start().starts_with("pub")
            && let Some(fields) = structs.get_mut(name)
        {
            fields.insert(field.to_owned());
        }
    }
    structs
}

#[test]
fn every_key_of_the_configuration_is_documented_with_its_default() {
    let document = read("docs/configuration.md");
    let structs = fields(&read("host/server/src/config.rs"));
    let directory = tempfile::tempdir().expect("a directory");
    let printed = nexus(&["serve", "--print-config"], directory.path());
    let printed = String::from_utf8(printed.stdout).expect("text");

    for section in &structs["Config"] {
        let mut name = section.clone();
        name[..1].make_ascii_uppercase();
        let table = rows(&document, &format!("## `[{section}]`"));
        let documented: BTreeSet<String> = table
            .iter()
            .filter_map(|row| code(row[0]).map(str::to_owned))
            .collect();
        assert_eq!(documented, structs[&name], "[{section}]");

        let printed: BTreeMap<&str, &str> = printed
            .lines()
            .skip_while(|line| *line != format!("[{section}]"))
            .skip(1)
            .take_while(|line| !line.starts_with('['))
            .filter_map(|line| line.split_once(" = "))
            .collect();
        for row in &table {
            let key = code(row[0]).expect("a key");
            let default = code(row[1]);
            assert_eq!(printed.get(key).copied(), default, "[{section}] {key}");
        }
    }
}

#[test]
fn every_key_of_the_manifest_is_documented_and_the_example_is_one() {
    let document = read("docs/manifest.md");
    let spans: BTreeSet<&str> = document.split('`').skip(1).step_by(2).collect();
    let structs = fields(&read("host/manifest/src/raw.rs"));
    for name in [
        "Manifest", "Http", "Secret", "Memory", "Peer", "Limits", "Schedule",
    ] {
        for field in structs[name].iter().filter(|field| *field != "permissions") {
            let section = format!("[{field}]");
            assert!(
                spans.contains(field.as_str()) || spans.contains(section.as_str()),
                "docs/manifest.md does not name `{field}` of {name}"
            );
        }
    }

    let directory = tempfile::tempdir().expect("a directory");
    let example = blocks(&document)
        .into_iter()
        .find(|block| block.info == "toml")
        .expect("an example");
    std::fs::write(directory.path().join("agent.toml"), example.text).expect("written");
    std::fs::write(directory.path().join("a.wasm"), b"\0asm\x0d\0\x01\0").expect("written");
    let packed = nexus(
        &["pack", "a.wasm", "--manifest", "agent.toml"],
        directory.path(),
    );
    assert!(
        packed.status.success(),
        "{}",
        String::from_utf8_lossy(&packed.stderr)
    );
}

#[test]
fn every_reason_of_an_error_is_documented_and_no_other() {
    let document = read("docs/errors.md");
    let documented: BTreeSet<String> = document
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .map(str::to_owned)
        .collect();
    let mut used = BTreeSet::new();
    for file in rust_files(&root().join("host/server/src")) {
        let source = std::fs::read_to_string(&file).expect("a source");
        used.extend(reasons(&source));
    }
    assert!(used.len() > 20, "the search finds what is there: {used:?}");
    assert_eq!(documented, used);
}

/// The reasons that a source gives to its faults: the first text in the call of a constructor.
fn reasons(source: &str) -> Vec<String> {
    // Of `Fault`, by that name or as `Self`.
    const CONSTRUCTORS: [&str; 5] = [
        "::new(",
        "::invalid_as(",
        "::precondition(",
        "::exhausted(",
        "::unavailable(",
    ];
    let mut found = Vec::new();
    for constructor in CONSTRUCTORS {
        for (at, _) in source.match_indices(constructor) {
            let call = source[at + constructor.len()..].trim_start();
            let call = call.strip_prefix("tonic::").unwrap_or(call);
            let call = match call.strip_prefix("Code::") {
                Some(code) => code
                    .split_once(',')
                    .map_or("", |(_, rest)| rest)
                    .trim_start(),
                None => call,
            };
            let reason = call
                .strip_prefix('"')
                .and_then(|rest| rest.split('"').next());
            let is_reason = |text: &&str| {
                !text.is_empty() && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')
            };
            found.extend(reason.filter(is_reason).map(str::to_owned));
        }
    }
    found
}

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).expect("a directory").flatten() {
        let path = entry.path();
        if path.ends_with("target") {
            continue;
        }
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// Documents whose tables name the test of each line in their last column.
const EVIDENCE: [&str; 2] = ["docs/conformance.md", "docs/threat-model.md"];

#[test]
fn every_test_that_a_document_names_is_one() {
    let mut tests = BTreeSet::new();
    for folder in ["host", "tests", "proto", "guest-sdk"] {
        for file in rust_files(&root().join(folder)) {
            let source = std::fs::read_to_string(&file).expect("a source");
            let lines = source.lines().map(str::trim_start);
            let named = lines.filter_map(|line| {
                let line = line.strip_prefix("async ").unwrap_or(line);
                line.strip_prefix("fn ")?.split('(').next()
            });
            tests.extend(named.map(str::to_owned));
        }
    }
    for path in EVIDENCE {
        let Ok(document) = std::fs::read_to_string(root().join(path)) else {
            continue;
        };
        let mut named = 0;
        for line in document.lines().filter(|line| line.starts_with("| ")) {
            let last = line.trim_end_matches('|').rsplit('|').next();
            for name in last.unwrap_or_default().split('`').skip(1).step_by(2) {
                assert!(
                    tests.contains(name),
                    "{path} names {name}, which is no test"
                );
                named += 1;
            }
        }
        assert!(named >= 20, "{path} names only {named} tests");
    }
}

#[test]
fn every_link_leads_somewhere() {
    let mut documents: Vec<PathBuf> = [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "templates/README.md",
    ]
    .iter()
    .map(|name| root().join(name))
    .collect();
    documents.extend(
        std::fs::read_dir(root().join("docs"))
            .expect("docs")
            .flatten()
            .map(|entry| entry.path()),
    );
    for document in documents {
        let text = std::fs::read_to_string(&document).expect("a document");
        let directory = document.parent().expect("a directory");
        for link in links(&text).filter(|link| !link.contains("://")) {
            let path = link.split('#').next().unwrap_or_default();
            assert!(
                directory.join(path).exists(),
                "{} links to {link}",
                document.display()
            );
        }
    }
}

#[test]
fn the_audit_page_lists_exactly_the_kinds_that_there_are() {
    let page = read("docs/audit.md");
    let documented: BTreeSet<String> = page
        .lines()
        .skip_while(|line| !line.starts_with("| kinds"))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .map(str::to_owned)
        .collect();
    let kinds = nexus_audit::EventKind::ALL.iter();
    let kinds: BTreeSet<String> = kinds.map(ToString::to_string).collect();
    assert_eq!(documented, kinds);
}

#[test]
fn every_kind_of_event_is_written_somewhere() {
    fn sources(directory: &Path, text: &mut String) {
        for entry in std::fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                sources(&path, text);
            } else if path.extension().is_some_and(|it| it == "rs") {
                text.push_str(&std::fs::read_to_string(&path).expect("a source"));
            }
        }
    }
    let mut text = String::new();
    for directory in std::fs::read_dir(root().join("host")).expect("host/") {
        let source = directory.expect("an entry").path().join("src");
        if source.is_dir() {
            sources(&source, &mut text);
        }
    }
    for kind in nexus_audit::EventKind::ALL {
        assert!(
            text.contains(&format!("EventKind::{kind:?}")),
            "no host writes {kind}"
        );
    }
}

#[test]
fn every_reason_of_a_failed_forge_is_documented() {
    let page = read("docs/forge.md");
    let reasons: Vec<_> = (1..)
        .map_while(|number| FailureReason::try_from(number).ok())
        .map(|reason| reason.as_str_name().replace("FAILURE_REASON_", ""))
        .collect();
    let documented: Vec<_> = rows(&page, "### Why a forge failed")
        .iter()
        .filter_map(|row| code(row[0]))
        .map(str::to_owned)
        .collect();
    assert_eq!(documented, reasons);
}
