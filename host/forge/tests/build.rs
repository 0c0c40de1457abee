//! Good and bad sources through the real compiler in its sandbox.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use nexus_forge::build::{Builder, Error, Level, Options};
use nexus_sandbox::Limit;
use tokio::sync::OnceCell;

const MANIFEST: &str =
    "format = 1\nname = \"sample\"\nversion = \"0.1.0\"\nsummary = \"A sample\"\n";

const GOOD: &str = r#"
use nexus_agent::prelude::*;

#[derive(Deserialize)]
struct Input { name: String }
#[derive(Serialize)]
struct Output { greeting: String }

fn invoke(input: Input) -> Result<Output> {
    Ok(Output { greeting: format!("hello, {}", input.name) })
}
nexus_agent::export!(invoke);
"#;

/// One builder for all tests of this file: the libraries are prepared once.
async fn builder() -> &'static Builder {
    static BUILDER: OnceCell<(Builder, tempfile::TempDir)> = OnceCell::const_new();
    let (builder, _) = BUILDER
        .get_or_init(async || {
            let directory = tempfile::tempdir().unwrap();
            let mut options = Options::new(directory.path().join("forge"));
            options.helper = Some(env!("CARGO_BIN_EXE_nexus-forge-helper").into());
            (Builder::open(options).unwrap(), directory)
        })
        .await;
    builder
}

#[tokio::test]
async fn a_good_source_becomes_a_component() {
    let built = builder().await.build(GOOD, MANIFEST).await.unwrap();
    assert!(built.component.starts_with(b"\0asm"));
    assert_eq!(built.manifest.name.as_str(), "sample");
    assert_eq!(built.warnings, []);
    assert!(built.toolchain.contains("release:"));
    // Where it was built does not show, so anyone can build it again.
    let again = builder().await.build(GOOD, MANIFEST).await.unwrap();
    assert_eq!(again.component, built.component);
    for hidden in [env!("CARGO_MANIFEST_DIR"), &std::env::var("HOME").unwrap()] {
        assert!(!contains(&built.component, hidden.as_bytes()), "{hidden}");
    }
}

#[tokio::test]
async fn a_type_error_comes_back_with_its_place() {
    let source = GOOD.replace("format!(\"hello, {}\", input.name)", "7");
    let Err(Error::Rejected(found)) = builder().await.build(&source, MANIFEST).await else {
        panic!("it was compiled");
    };
    let error = &found[0];
    assert_eq!(error.level, Level::Error);
    assert_eq!(error.code.as_deref(), Some("E0308"));
    assert_eq!(error.line, 10);
    assert!(error.column > 0);
    assert!(
        error.rendered.contains("src/lib.rs:10"),
        "{}",
        error.rendered
    );
}

#[tokio::test]
async fn a_source_without_an_agent_is_refused() {
    let error = builder()
        .await
        .build("fn main() {}", MANIFEST)
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Error::NotAnAgent(_) | Error::Rejected(_)),
        "{error}"
    );
}

#[tokio::test]
async fn too_long_a_source_is_refused_before_anything_runs() {
    let error = builder()
        .await
        .build(&" ".repeat(300_000), MANIFEST)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::SourceTooLarge { bytes: 300_000 }));
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Puts `items` before the good source.
fn with(items: &str) -> String {
    format!("{items}\n{GOOD}")
}

/// Compiles a source that tries to read the canary, and looks for it in all
/// that comes back.
async fn leaks_nothing(source: &str) {
    let canary = "canary-5f1c";
    let (bytes, text) = match builder().await.build(source, MANIFEST).await {
        Ok(built) => (built.component, format!("{:?}", built.warnings)),
        Err(Error::Rejected(found)) => (Vec::new(), format!("{found:?}")),
        Err(error) => (Vec::new(), format!("{error:?}")),
    };
    assert!(
        !contains(&bytes, canary.as_bytes()),
        "in the component: {source}"
    );
    assert!(!text.contains(canary), "in the text: {text}");
}

fn canary_file() -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("canary.rs");
    std::fs::write(&path, "canary-5f1c this is no Rust").unwrap();
    let path = path.to_str().unwrap().to_owned();
    (directory, path)
}

#[tokio::test]
async fn files_of_the_host_are_out_of_reach() {
    let (_directory, file) = canary_file();
    let up = format!("../../../../../../../../..{file}");
    for path in [&file, &up] {
        for read in [
            format!("static X: &str = include_str!({path:?});"),
            format!("static X: &[u8] = include_bytes!({path:?});"),
            format!("use core::include_str as q; static X: &str = q!({path:?});"),
            format!("use std::include_bytes as q; static X: &[u8] = q!({path:?});"),
        ] {
            let used = GOOD.replace("\"hello, {}\", input.name", "\"{:?}{}\", X, input.name");
            leaks_nothing(&format!("{read}\n{used}")).await;
        }
        leaks_nothing(&with(&format!("include!({path:?});"))).await;
        leaks_nothing(&with(&format!("#[path = {path:?}] mod stolen;"))).await;
    }
    // The compiler's own process tells nothing of the host either.
    for path in [
        "/proc/self/environ",
        "/proc/self/cmdline",
        "/proc/1/environ",
        "/etc/passwd",
    ] {
        let source = with(&format!("static X: &[u8] = include_bytes!({path:?});"));
        assert!(
            matches!(
                builder().await.build(&source, MANIFEST).await,
                Err(Error::Rejected(_))
            ),
            "{path}"
        );
    }
}

#[tokio::test]
async fn variables_of_the_host_are_out_of_reach() {
    // Cargo sets this one for the test, so the host has it.
    let value = env!("CARGO_MANIFEST_DIR");
    let read = GOOD.replace("\"hello, {}\", input.name", "\"{:?}{}\", X, input.name");
    for name in ["CARGO_MANIFEST_DIR", "HOME", "SECRET_KEY"] {
        let optional = format!("static X: Option<&str> = option_env!({name:?});\n{read}");
        let built = builder().await.build(&optional, MANIFEST).await.unwrap();
        assert!(!contains(&built.component, value.as_bytes()));
        let required = format!("static X: &str = env!({name:?});\n{read}");
        let error = builder()
            .await
            .build(&required, MANIFEST)
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Rejected(_)), "{error}");
    }
}

#[tokio::test]
async fn what_is_not_the_language_an_agent_gets_is_refused() {
    for (items, code) in [
        ("extern crate serde_derive;", Some("E0463")),
        ("extern crate wit_bindgen;", None),
        ("extern crate hashbrown;", None),
        ("#![feature(asm_experimental_arch)]", None),
        (
            "core::arch::global_asm!(\".incbin \\\"/etc/passwd\\\"\");",
            None,
        ),
        ("fn f(x: *const u8) -> u8 { unsafe { *x } }", None),
        ("#[unsafe(no_mangle)] pub extern \"C\" fn f() {}", None),
        (
            "#[allow(unsafe_code)] fn f(x: *const u8) -> u8 { unsafe { *x } }",
            None,
        ),
        (
            "#[unsafe(link_section = \"nexus:manifest\")] static M: [u8; 1] = [0];",
            None,
        ),
        (
            "#[link(name = \"../../x\", kind = \"static\")] unsafe extern \"C\" { fn f(); }",
            None,
        ),
    ] {
        let error = builder()
            .await
            .build(&with(items), MANIFEST)
            .await
            .unwrap_err();
        let Error::Rejected(found) = error else {
            panic!("{items}: {error}");
        };
        assert!(!found.is_empty());
        if code.is_some() {
            assert_eq!(found[0].code.as_deref(), code, "{items}");
        }
        assert!(
            found.iter().all(|d| !d.rendered.contains("root:")),
            "{items}"
        );
    }
    // The command line decides what is made, whatever the source says.
    let source = with("#![crate_type = \"proc-macro\"]");
    let built = builder().await.build(&source, MANIFEST).await;
    assert!(built.is_ok() || matches!(built, Err(Error::Rejected(_))));
}

#[tokio::test]
async fn bombs_end_at_a_limit_and_leave_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = Options::new(directory.path().join("forge"));
    options.helper = Some(env!("CARGO_BIN_EXE_nexus-forge-helper").into());
    options.limits.cpu_s = 3;
    let builder = Builder::open(options).unwrap();
    builder.warm().await.unwrap();

    let endless = "#![allow(long_running_const_eval)]\nconst X: u64 = { let mut i = 0u64; loop { i = i.wrapping_add(1); if i == u64::MAX { break i; } } };\npub static Y: u64 = X;";
    let growing = "macro_rules! b { ($($x:tt)*) => { b!($($x)* $($x)*); } }\nb!(a a a a);";
    for bomb in [endless, growing] {
        let error = builder.build(&with(bomb), MANIFEST).await.unwrap_err();
        match error {
            Error::Exhausted { limit, .. } => {
                assert!(matches!(limit, Limit::Cpu | Limit::Memory | Limit::Output))
            }
            // The recursion limit of macros may come first.
            Error::Rejected(found) => assert!(bomb == growing, "{found:?}"),
            other => panic!("{other}"),
        }
    }
    assert_eq!(entries(&directory.path().join("forge/jobs")), 0);
}

fn entries(directory: &Path) -> usize {
    std::fs::read_dir(directory).map_or(0, Iterator::count)
}

#[tokio::test]
async fn without_a_compiler_it_says_what_to_install() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = Options::new(directory.path());
    options.toolchain.rustc = Some(directory.path().join("rustc"));
    let error = Builder::open(options)
        .unwrap()
        .build(GOOD, MANIFEST)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Toolchain(_)), "{error}");
}

#[tokio::test]
async fn who_asks_how_things_stand_is_told_at_once() {
    let builder = builder().await;
    builder.warm().await.unwrap();
    // On the one thread of this test nothing else has run by then.
    assert!(matches!(builder.standing().await, Some(Ok(()))));

    let directory = tempfile::tempdir().unwrap();
    let libraries = directory.path().join("libraries");
    std::fs::create_dir(&libraries).unwrap();
    let other = std::fs::File::create(libraries.join("lock")).unwrap();
    other.lock().unwrap();
    let mut options = Options::new(directory.path().join("forge"));
    options.libraries = Some(libraries);
    let waits = Builder::open(options).unwrap();
    assert!(waits.standing().await.is_none());
    assert!(waits.standing().await.is_none(), "asked again");
}
