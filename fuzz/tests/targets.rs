//! Each target over its corpus, and over mutations of it; `make fuzz` looks further.
#![expect(clippy::expect_used, reason = "a panic is a failed test")]

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

use nexus_fuzz::{REQUESTS, TARGETS, Target};
use prost::Message as _;

/// The same numbers each time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end.max(1) as u64).unwrap_or_default()
    }
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target);
    let entries = fs::read_dir(&directory).expect("every target has a corpus");
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{target}");
    files
        .iter()
        .map(|file| fs::read(file).expect("a file"))
        .collect()
}

fn run((name, target): Target, input: &[u8]) {
    let shown = input.escape_ascii().to_string();
    assert!(
        catch_unwind(|| target(input)).is_ok(),
        "{name} found something in b\"{shown}\""
    );
}

fn mutated(random: &mut Random, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut input = corpus[random.below(corpus.len())].clone();
    for _ in 0..=random.below(6) {
        let at = random.below(input.len() + 1);
        match random.below(6) {
            0 if at < input.len() => input[at] ^= 1 << random.below(8),
            1 if at < input.len() => {
                input[at] = u8::try_from(random.below(256)).unwrap_or_default()
            }
            2 => input.truncate(at),
            3 => input.insert(at, u8::try_from(random.below(256)).unwrap_or_default()),
            4 => {
                // A piece of this one or another, which is what finds most.
                let other = &corpus[random.below(corpus.len())];
                let from = random.below(other.len() + 1);
                let to = from + random.below(other.len() - from + 1);
                input.splice(at..at, other[from..to].iter().copied());
            }
            _ => {
                let end = (at + random.below(8)).min(input.len());
                input.drain(at..end);
            }
        }
    }
    input
}

#[test]
fn nothing_is_found_in_the_corpora_and_around_them() {
    let rounds = if std::env::var_os("NEXUS_SOAK").is_some() {
        100_000
    } else {
        2_000
    };
    for target in TARGETS {
        let corpus = corpus(target.0);
        for input in &corpus {
            run(target, input);
        }
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        for _ in 0..rounds {
            run(target, &mutated(&mut random, &corpus));
        }
    }
}

#[test]
fn every_request_of_the_contract_is_a_target() {
    let files = prost_types::FileDescriptorSet::decode(nexus_proto::DESCRIPTOR_SET);
    let files = files.expect("the contract describes itself").file;
    let services = files.iter().flat_map(|file| &file.service);
    let mut requests: Vec<&str> = services
        .flat_map(|service| &service.method)
        .filter_map(|method| method.input_type().rsplit('.').next())
        .collect();
    requests.sort_unstable();
    requests.dedup();
    let fuzzed: Vec<&str> = REQUESTS.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        fuzzed, requests,
        "fuzz/src/messages.rs lists other requests than proto/"
    );
}
