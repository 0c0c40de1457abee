//! Sources that would keep the compiler busy for ever, or fill the machine: T13.

use nexus_proto::v1::forge_event::{Detail, State};
use nexus_tests::{Host, client::reason, guests as real};

use super::guests::{NULL, agent, module};
use super::hostile::{forge, leftovers, published, with};
use super::support::is_well;

/// How a bomb has to end.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// At a limit. Which one depends on how busy the machine is.
    Limit,
    /// The compiler sees through it, or breaks: either way with a finding.
    Found,
    /// At a limit or with a finding, whichever this machine comes to first.
    Either,
}

/// A host whose compilers get little time, so that a test need not wait for what others wait for.
fn hurried(seconds: u64) -> anyhow::Result<Host> {
    let libraries = nexus_tests::host::binary().with_file_name("forge-libraries");
    let config = format!(
        "[forge]\nlibraries = {libraries:?}\nprecompile_templates = false\nbuild_cpu_seconds = {seconds}\n"
    );
    Host::builder().config(&config).start()
}

fn bombs() -> Vec<(&'static str, End, String)> {
    let doubled = |first: &str, next: &dyn Fn(usize) -> String, count: usize| {
        let rest: String = (1..count).map(next).collect();
        format!("{first}{rest}")
    };
    let types = doubled(
        "type T0 = (u8, u16);\n",
        &|n| format!("type T{n} = (T{0}, T{0});\n", n - 1),
        40,
    );
    let calls = doubled(
        "fn f0<T>() -> usize { core::mem::size_of::<T>() }\n",
        &|n| {
            let called = |kind: &str| format!("f{}::<(T, {kind})>()", n - 1);
            let all = ["u8", "u16", "u32", "u64", "i8", "i16"].map(called);
            format!("fn f{n}<T>() -> usize {{ {} }}\n", all.join(" + "))
        },
        9,
    );
    vec![
        (
            "a constant that is never known",
            End::Limit,
            with(
                "#[allow(long_running_const_eval)]\npub const X: u64 = { let mut n = 0u64; loop { n = n.wrapping_add(1); if n == u64::MAX { break n; } } };",
            ),
        ),
        (
            "a macro that doubles",
            End::Limit,
            format!(
                "#![recursion_limit = \"100000\"]\n{}",
                with("macro_rules! b { ($($x:tt)*) => { b!($($x)* $($x)*); } }\nb!(a a a a);")
            ),
        ),
        (
            "a macro without end",
            End::Either,
            format!(
                "#![recursion_limit = \"100000000\"]\n{}",
                with("macro_rules! b { ($n:expr) => { b!($n + 1) } }\npub fn f() -> u64 { b!(0) }")
            ),
        ),
        (
            "a type that doubles",
            End::Either,
            with(&format!(
                "{types}pub fn f() -> &'static str {{ core::any::type_name::<T39>() }}\npub static F: fn() -> &'static str = f;"
            )),
        ),
        (
            "a trait that needs itself",
            End::Either,
            format!(
                "#![recursion_limit = \"100000\"]\n{}",
                with(
                    "pub trait A { fn a(&self) {} } pub struct W<T>(T); impl<T> A for W<T> where W<(T, T)>: A {}\npub fn f() { W(1u8).a() }"
                )
            ),
        ),
        (
            "parentheses in parentheses",
            End::Either,
            with(&format!(
                "pub fn f() -> u8 {{ {}1{} }}",
                "(".repeat(100_000),
                ")".repeat(100_000)
            )),
        ),
        (
            "a function in ten million kinds",
            End::Either,
            format!(
                "{}\n",
                with(&format!("{calls}pub static F: fn() -> usize = f8::<()>;"))
            ),
        ),
        (
            "an array of a gigabyte",
            End::Either,
            with("pub static X: [u8; 1 << 30] = [7; 1 << 30];\npub fn f(n: usize) -> u8 { X[n] }"),
        ),
        (
            "a component beyond all measure",
            End::Either,
            "use nexus_agent::prelude::*;\nexport!(invoke);\nstatic X: [u8; 100 << 20] = { let mut x = [0; 100 << 20]; let mut n = 0; while n < x.len() { x[n] = (n >> 12) as u8; n += 4096; } x };\nfn invoke(input: Value) -> Result<Value> { Ok(json!(X[input.as_u64().unwrap_or(0) as usize])) }\n".to_owned(),
        ),
        (
            "a gigabyte of errors",
            End::Either,
            with(&format!(
                "macro_rules! e {{ ($($x:tt)*) => {{ $(compile_error!({:?}); stringify!($x);)* }} }}\ne!({});",
                "no ".repeat(30_000),
                "x ".repeat(10_000)
            )),
        ),
        (
            "a source that includes itself twice",
            End::Either,
            format!(
                "#![recursion_limit = \"100000\"]\n{}",
                with(
                    "pub fn f() { mod m { include!(\"lib.rs\"); } mod n { include!(\"lib.rs\"); } }"
                )
            ),
        ),
        (
            "names that differ in their last letter",
            End::Found,
            with(&format!(
                "pub fn f() -> u8 {{ {} }}",
                (0..8_000)
                    .map(|n| format!("undefined_name_{n} + "))
                    .collect::<String>()
                    + "1"
            )),
        ),
    ]
}

#[tokio::test]
async fn t13_bombs_for_the_compiler_end_at_a_limit_and_leave_nothing() -> anyhow::Result<()> {
    let mut host = hurried(3)?;
    let mut client = host.operator().await?;
    client.deploy(&real::component("echo")).await?;
    assert!(published(&forge(&mut client, "good", &with("")).await?));
    for (number, (what, wanted, source)) in bombs().into_iter().enumerate() {
        assert!(source.len() <= 256 * 1024, "{what}: {}", source.len());
        let events = forge(&mut client, &format!("bomb-{number}"), &source).await?;
        let last = events.last().expect("a forge tells something");
        assert_eq!(last.state(), State::Failed, "{what}: {last:?}");
        match &last.detail {
            Some(Detail::Failure(reason)) => {
                let limit = reason.contains("the limit on ") || reason.contains("are allowed");
                assert!(limit, "{what}: {reason}");
                assert_ne!(wanted, End::Found, "{what}: {reason}");
            }
            Some(Detail::Diagnostics(found)) => {
                assert_ne!(wanted, End::Limit, "{what}: {found:?}");
                // What is told is bounded, however much there was.
                assert!(!found.diagnostics.is_empty(), "{what}");
                let told = found.diagnostics.iter();
                let told: usize = told.map(|one| one.rendered.len() + one.message.len()).sum();
                assert!(told <= 17 * 1024, "{what}: {told}");
            }
            other => panic!("{what}: {other:?}"),
        }
        assert_eq!(leftovers(&host)?, [""; 0], "{what}");
        is_well(&mut host, &mut client).await?;
    }
    Ok(())
}

#[tokio::test]
async fn t09_a_bomb_that_passes_the_check_ends_at_the_compiler_s_limit() -> anyhow::Result<()> {
    let mut host = hurried(2)?;
    let mut client = host.operator().await?;
    client.deploy(&real::component("echo")).await?;
    // Each function is within every bound that is checked first; there are very many of them.
    let locals = "(local i64)".repeat(200);
    let mut steps = String::new();
    for number in 0..400 {
        steps.push_str(&format!(
            "(local.set {} (i64.add (local.get {}) (i64.const {number})))",
            number % 200,
            (number * 7) % 200
        ));
    }
    let nested = format!("{}{steps}{}", "loop ".repeat(60), "end ".repeat(60));
    let functions = format!("(func {locals} {nested})").repeat(1_500);
    let bomb = agent("bomb", "", &module("17", "", &functions, NULL));
    let refused = client.upload(&bomb, Default::default()).await.unwrap_err();
    assert_eq!(reason(&refused), "COMPONENT_DOES_NOT_RUN", "{refused}");
    assert!(
        refused.message().contains("used up its limit of "),
        "{refused}"
    );
    assert_eq!(leftovers(&host)?, [""; 0]);
    is_well(&mut host, &mut client).await
}
