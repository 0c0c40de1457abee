//! Policies that are written to exhaust the host rather than to be read.

use nexus_gate::{Policy, PolicyError, SHIPPED};

fn policy(condition: &str) -> String {
    format!("permit (principal, action, resource) when {{ {condition} }};")
}

/// Parses on a stack as small as no thread of the host has, and says whether the shape was refused.
fn refused(text: String) -> bool {
    let small = std::thread::Builder::new().stack_size(512 << 10);
    let thread = small.spawn(move || match Policy::parse(&text) {
        Err(PolicyError::Syntax(why)) => {
            why.contains("nested more than") || why.contains("operators")
        }
        _ => false,
    });
    thread.unwrap().join().unwrap()
}

#[test]
fn what_people_write_is_parsed() {
    assert!(!refused(SHIPPED.to_owned()));
    assert!(!refused(policy(&format!(
        "\"{}\" == \"\\\"((\"",
        "(".repeat(100)
    ))));
    assert!(!refused(format!("// {}\n", "(".repeat(100))));
    assert!(!refused(policy("true && !false").repeat(500)));
}

#[test]
fn what_would_exhaust_the_stack_is_refused_before_it_is_parsed() {
    for condition in [
        format!("{}true{}", "(".repeat(200), ")".repeat(200)),
        format!("{}true{}", "(".repeat(100_000), ")".repeat(100_000)),
        format!("{}1{} == 1", "[".repeat(5_000), "]".repeat(5_000)),
        format!("{}1{} == 1", "{a:".repeat(5_000), "}".repeat(5_000)),
        "true && ".repeat(50_000) + "true",
        "true || ".repeat(50_000) + "true",
        "1 + ".repeat(50_000) + "1 == 1",
        "if true then true else ".repeat(20_000) + "true",
        "if ".repeat(50_000) + "true",
        "!".repeat(50_000) + "true",
        "-".repeat(50_000) + "1 == 1",
        "context".to_owned() + &".a".repeat(50_000),
    ] {
        assert!(refused(policy(&condition)), "{condition:.80}");
    }
}

#[test]
fn what_just_passes_needs_no_more_stack_than_it_gets() {
    let deep = 30;
    for condition in [
        format!("{}true{}", "(".repeat(deep), ")".repeat(deep)),
        format!("{}1{} == 1", "[".repeat(deep), "]".repeat(deep)),
        "true && ".repeat(255) + "true",
        "1 + ".repeat(254) + "1 == 1",
        "if true then true else ".repeat(255) + "true",
        format!(
            "{}true && {}{}",
            "(".repeat(deep),
            "true && ".repeat(254) + "true",
            ")".repeat(deep)
        ),
    ] {
        assert!(!refused(policy(&condition)), "{condition:.80}");
    }
}
