//! Sources that attack where they are compiled: T12.

use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::hostile::{Scene, answering, failure, forge, with};
use super::support::is_well;

/// An attack, whether it has to be refused, and its source. What need not be refused is harmless
/// once it is confined: a variable that is not set is no error.
type Attack = (&'static str, bool, String);

/// Forges that run at once.
const BESIDE: usize = 2;

async fn try_all(scene: &mut Scene, attacks: &[Attack]) -> anyhow::Result<()> {
    let tried = stream::iter(attacks.iter().enumerate()).map(|(number, attack)| {
        let (what, refused, source) = attack;
        let scene = &*scene;
        async move {
            let live = scene.attack(&format!("source-{number}"), source).await;
            let live = live.map_err(|error| error.context(*what))?;
            anyhow::ensure!(!(live && *refused), "{what} is accepted: {source}");
            anyhow::Ok(())
        }
    });
    tried
        .buffer_unordered(BESIDE)
        .try_collect::<Vec<()>>()
        .await?;
    scene.nothing_got_out()?;
    is_well(&mut scene.host, &mut scene.client).await
}

#[tokio::test]
async fn t12_hostile_sources_read_no_file_of_this_machine() -> anyhow::Result<()> {
    let mut scene = Scene::start().await?;
    let (canary, proper) = (scene.text("canary.rs"), scene.text("proper.rs"));
    let loot = scene.loot.to_string_lossy().into_owned();
    let up = format!("{}{}", "../".repeat(24), canary.trim_matches(['"', '/']));
    let token = format!("{:?}", scene.data.join("operator.token").to_string_lossy());
    let read = |path: &str| answering("", &format!("include_bytes!({path}).to_vec()"));
    let mut attacks: Vec<Attack> = vec![
        (
            "a text",
            true,
            answering("", &format!("include_str!({canary})")),
        ),
        ("bytes", true, read(&canary)),
        (
            "by another name",
            true,
            answering("use core::include_str as q;", &format!("q!({canary})")),
        ),
        ("from above", true, read(&format!("{up:?}"))),
        (
            "an expression",
            true,
            answering("", &format!("include!({canary})")),
        ),
        (
            "items",
            true,
            answering(&format!("include!({proper});"), "FOUND"),
        ),
        (
            "a module that is no Rust",
            true,
            with(&format!("#[path = {canary}] mod found;")),
        ),
        (
            "a module",
            true,
            answering(&format!("#[path = {proper}] mod found;"), "found::FOUND"),
        ),
        (
            "a module by condition",
            true,
            answering(
                &format!("#[cfg_attr(all(), path = {proper})] mod found;"),
                "found::FOUND",
            ),
        ),
        (
            "a module in a directory",
            true,
            answering(
                &format!("#[path = {loot:?}] mod loot {{ pub mod proper; }}"),
                "loot::proper::FOUND",
            ),
        ),
        (
            "documentation",
            true,
            with(&format!("#[doc = include_str!({canary})] pub struct X;")),
        ),
        (
            "documentation of the crate",
            true,
            format!("#![doc = include_str!({canary})]\n{}", with("")),
        ),
        (
            "by a macro",
            true,
            answering(
                "macro_rules! m { ($p:expr) => { include_str!($p) } }",
                &format!("m!({canary})"),
            ),
        ),
        (
            "by a macro that makes macros",
            true,
            answering(
                "macro_rules! m { ($i:ident, $p:expr) => { macro_rules! n { () => { $i!($p) } } } }",
                &format!("{{ m!(include_str, {canary}); n!() }}"),
            ),
        ),
        (
            "put together",
            true,
            answering(
                "",
                &format!("include_str!(concat!({loot:?}, \"/\", \"canary.rs\"))"),
            ),
        ),
        (
            "put together and written out",
            true,
            answering("", &format!("concat!(\"x\", include_str!({canary}))")),
        ),
        ("the host's own token", true, read(&token)),
    ];
    for path in ["link", "fifo", "socket", ""] {
        attacks.push(("what is no file", true, read(&scene.text(path))));
    }
    for path in [
        "/proc/self/environ",
        "/proc/self/cmdline",
        "/proc/self/maps",
        "/proc/1/environ",
        "/dev/zero",
        "/dev/urandom",
        "/dev/tty",
        "/etc/passwd",
        "/etc/os-release",
        "/usr/lib/os-release",
        "/etc/ld.so.cache",
    ] {
        attacks.push(("a file of the system", true, read(&format!("{path:?}"))));
    }
    for path in ["/proc/self/fd/0", "/dev/stdin", "/dev/null"] {
        attacks.push((
            "its own input, which is empty",
            false,
            read(&format!("{path:?}")),
        ));
    }
    try_all(&mut scene, &attacks).await
}

#[tokio::test]
async fn t12_hostile_sources_get_no_variable_tool_or_connection() -> anyhow::Result<()> {
    let mut scene = Scene::start().await?;
    let (canary, port) = (scene.text("canary.rs"), scene.port()?);
    let path = canary.trim_matches('"');
    let socket = scene.text("socket");
    let variables = [
        "NEXUS_CANARY",
        "PATH",
        "HOME",
        "PWD",
        "TMPDIR",
        "OUT_DIR",
        "RUSTC",
    ];
    let variables = variables.map(|name| format!("option_env!({name:?}).unwrap_or_default()"));
    let foreign = |link: &str| with(&format!("{link} unsafe extern \"C\" {{ fn f(); }}"));
    let attacks: Vec<Attack> = vec![
        ("a variable", true, answering("", "env!(\"NEXUS_CANARY\")")),
        (
            "all variables",
            false,
            answering("", &format!("[{}]", variables.join(", "))),
        ),
        (
            "a variable by another name",
            false,
            answering(
                "use core::option_env as q;",
                "q!(\"NEXUS_CANARY\").unwrap_or(\"not set\")",
            ),
        ),
        (
            "a variable when it runs",
            false,
            answering("", "std::env::vars().collect::<Vec<_>>()"),
        ),
        (
            "settings of cargo",
            false,
            answering(
                "",
                "[cfg!(stolen), file!().len() > 20, option_env!(\"CARGO_ENCODED_RUSTFLAGS\").is_some()]",
            ),
        ),
        (
            "a manifest of its own",
            true,
            format!("---\n[dependencies]\nrand = \"1\"\n---\n{}", with("")),
        ),
        (
            "features of the language",
            true,
            format!("#![feature(rustc_private)]\n{}", with("")),
        ),
        (
            "the compiler's own crates",
            true,
            with("extern crate rustc_driver;"),
        ),
        (
            "a crate that is not offered",
            true,
            with("extern crate wit_bindgen;"),
        ),
        (
            "the crate of macros",
            true,
            with(
                "extern crate proc_macro; pub fn f() { proc_macro::tracked_path::path(\"/etc/passwd\") }",
            ),
        ),
        (
            "another kind of crate",
            false,
            format!("#![crate_type = \"proc-macro\"]\n{}", with("")),
        ),
        (
            "a macro in another kind of crate",
            true,
            format!(
                "#![crate_type = \"proc-macro\"]\nextern crate proc_macro;\n{}",
                with(
                    "#[proc_macro] pub fn m(i: proc_macro::TokenStream) -> proc_macro::TokenStream { i }"
                )
            ),
        ),
        (
            "a build script",
            false,
            with(&format!(
                "#[allow(dead_code)] mod build {{ pub fn main() {{ println!(\"cargo:rustc-env=STOLEN={{:?}}\", std::fs::read({canary})); }} }}"
            )),
        ),
        (
            "assembly",
            true,
            with(&format!(
                "core::arch::global_asm!(\".incbin \\\"{path}\\\"\");"
            )),
        ),
        (
            "assembly with its feature",
            true,
            format!(
                "#![feature(asm_experimental_arch)]\n{}",
                with(&format!(
                    "core::arch::global_asm!(\".incbin \\\"{path}\\\"\");"
                ))
            ),
        ),
        (
            "assembly within a function",
            true,
            with(&format!(
                "pub fn f() {{ unsafe {{ core::arch::asm!(\".include \\\"{path}\\\"\") }} }}"
            )),
        ),
        (
            "a library by its path",
            true,
            foreign(&format!(
                "#[link(name = {canary}, kind = \"static\", modifiers = \"+verbatim\")]"
            )),
        ),
        (
            "a library by its name",
            true,
            foreign("#[link(name = \"../../../loot/canary\", kind = \"static\")]"),
        ),
        (
            "an argument of the linker",
            true,
            foreign(&format!(
                "#[link(name = \"--reproduce={path}.tar\", kind = \"link-arg\")]"
            )),
        ),
        (
            "arguments of the linker",
            true,
            format!("#![link_args = \"-T {path}\"]\n{}", with("")),
        ),
        (
            "another manifest in the component",
            true,
            with("#[unsafe(link_section = \"nexus:manifest\")] static M: [u8; 1] = [0];"),
        ),
        (
            "a function beside the world's",
            true,
            with("#[unsafe(no_mangle)] pub extern \"C\" fn f() {}"),
        ),
        (
            "memory as it pleases",
            true,
            with("pub fn f(at: *const u8) -> u8 { unsafe { *at } }"),
        ),
        (
            "a secret's value by the SDK",
            true,
            with("pub fn f(key: &vault::Secret) -> Result<String> { key.reveal(\"to see it\") }"),
        ),
        (
            "a secret's value by its bindings",
            true,
            with("pub use nexus_agent::bindings_reveal;"),
        ),
        (
            "a secret's value by the contract",
            true,
            foreign("#[link(wasm_import_module = \"nexus:agent/vault-reveal@0.1.0\")]"),
        ),
        (
            "a file when it runs",
            false,
            answering(
                "",
                &format!("std::fs::read_to_string({canary}).map_err(|e| e.to_string())"),
            ),
        ),
        (
            "a program when it runs",
            false,
            answering(
                "",
                &format!(
                    "std::process::Command::new(\"cat\").arg({canary}).output().map(|o| o.stdout).map_err(|e| e.to_string())"
                ),
            ),
        ),
        (
            "a connection when it runs",
            true,
            answering(
                "",
                &format!(
                    "std::net::TcpStream::connect(\"127.0.0.1:{port}\").map(|_| 1).map_err(|e| e.to_string())"
                ),
            ),
        ),
        (
            "a connection by a path",
            true,
            answering("", &format!("include_str!(\"/dev/tcp/127.0.0.1/{port}\")")),
        ),
        (
            "a connection by a URL",
            true,
            answering("", &format!("include_str!(\"http://127.0.0.1:{port}/\")")),
        ),
        (
            "a socket by its path",
            true,
            answering("", &format!("include_str!({socket})")),
        ),
    ];
    try_all(&mut scene, &attacks).await
}

#[tokio::test]
async fn t12_nothing_tells_whether_a_file_of_this_machine_is_there() -> anyhow::Result<()> {
    let mut scene = Scene::start().await?;
    // Of one length, so that what follows them stands in the same column.
    let asked = |file: &str| {
        let path = scene.loot.join(file).to_string_lossy().into_owned();
        let (directory, module) = (scene.loot.display(), file.trim_end_matches(".rs"));
        vec![
            answering("", &format!("include_str!({path:?})")),
            answering("", &format!("include_bytes!({path:?}).len()")),
            answering("", &format!("include!({path:?})")),
            with(&format!("include!({path:?});")),
            with(&format!("#[doc = include_str!({path:?})] pub struct X;")),
            with(&format!("#[path = {path:?}] mod found;")),
            with(&format!(
                "#[path = \"{directory}\"] mod loot {{ pub mod {module}; }}"
            )),
            with(&format!(
                "#[link(name = {path:?}, kind = \"static\", modifiers = \"+verbatim\")] unsafe extern \"C\" {{}}"
            )),
            with(&format!(
                "#[link(name = {path:?}, kind = \"dylib\")] unsafe extern \"C\" {{}}"
            )),
        ]
    };
    let (there, not) = (asked("proper.rs"), asked("absent.rs"));
    for (number, (there, not)) in there.iter().zip(&not).enumerate() {
        let mut said = Vec::new();
        for source in [there, not] {
            let name = format!("asks-{number}-{}", said.len());
            let events = forge(&mut scene.client, &name, source).await?;
            let told = failure(&events).replace("proper", "absent");
            said.push(told);
        }
        assert!(!said[0].is_empty(), "{there}");
        assert_eq!(said[0], said[1], "{there}");
    }
    scene.nothing_got_out()?;
    is_well(&mut scene.host, &mut scene.client).await
}
