//! A copy of the trail as a file of JSON lines, and the verification of copies without their host.

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use nexus_audit::{Checkpoint, Verifier, VerifyingKey};
use nexus_store::{LogRecord, RedbStore};
use serde::{Deserialize, Serialize};

use super::{Anchor, Verified, fetch_chain, judge, latest};
use crate::cli::connection::Client;

const FORMAT: &str = "nexus audit export 1";

/// One line of an export. The first is the head, the last the latest checkpoint.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Head {
        format: String,
        /// Trust it only if it is the one that you have kept.
        verifying_key: String,
    },
    Record {
        sequence: u64,
        previous: String,
        hash: String,
        /// The stored bytes, as text.
        record: String,
    },
    /// A record that is no text, and so none that a host has written.
    Damaged {
        sequence: u64,
        previous: String,
        hash: String,
        record_base64: String,
    },
    Checkpoint {
        checkpoint: Checkpoint,
    },
}

/// Writes the whole chain and the latest checkpoint, and says how many records there are.
pub(super) async fn export(client: &Client, path: &Path) -> anyhow::Result<u64> {
    let writing = || format!("failed to write {}", path.display());
    let Some(anchor) = latest(client).await? else {
        bail!("the host has nothing to export yet");
    };
    let mut file = BufWriter::new(File::create(path).with_context(writing)?);
    let mut put = |line: &Line| -> anyhow::Result<()> {
        serde_json::to_writer(&mut file, line).with_context(writing)?;
        file.write_all(b"\n").with_context(writing)
    };
    put(&Line::Head {
        format: FORMAT.to_owned(),
        verifying_key: anchor.key.to_string(),
    })?;
    let mut records = 0;
    let mut failed = None;
    fetch_chain(client, |record| {
        records += 1;
        if failed.is_none() {
            failed = put(&line(record)).err();
        }
    })
    .await?;
    if let Some(error) = failed {
        return Err(error);
    }
    put(&Line::Checkpoint {
        checkpoint: anchor.checkpoint,
    })?;
    let file = file.into_inner().context("failed to write the end")?;
    file.sync_all().with_context(writing)?;
    Ok(records)
}

fn line(record: LogRecord) -> Line {
    let (previous, hash) = (hex::encode(record.previous), hex::encode(record.hash));
    let sequence = record.sequence;
    match String::from_utf8(record.record) {
        Ok(record) => Line::Record {
            sequence,
            previous,
            hash,
            record,
        },
        Err(error) => Line::Damaged {
            sequence,
            previous,
            hash,
            record_base64: STANDARD.encode(error.as_bytes()),
        },
    }
}

/// Verifies an export. Its own key counts only if neither a kept checkpoint nor `key` names one.
pub(super) fn verify_file(
    path: &Path,
    kept: Option<&Anchor>,
    key: Option<VerifyingKey>,
) -> anyhow::Result<Verified> {
    let reading = || {
        format!(
            "failed to read {} as an export of the audit trail",
            path.display()
        )
    };
    let mut lines = BufReader::new(File::open(path).with_context(reading)?).lines();
    let first = lines.next().transpose().with_context(reading)?;
    let Ok(Line::Head {
        format,
        verifying_key,
    }) = serde_json::from_str(&first.unwrap_or_default())
    else {
        bail!("{}: it does not begin with {FORMAT:?}", reading());
    };
    anyhow::ensure!(format == FORMAT, "{}: it is {format:?}", reading());
    let own: VerifyingKey = verifying_key.parse().with_context(reading)?;
    let trusted = key.or(kept.map(|kept| kept.key)).unwrap_or(own);
    let mut others = Vec::new();
    if trusted != own {
        others.push(format!(
            "the export names the key {}, the trusted one is {}",
            own.id(),
            trusted.id()
        ));
    }
    let mut verifier = Verifier::new(&trusted);
    let mut signed = None;
    for (number, text) in (2..).zip(lines) {
        let text = text.with_context(reading)?;
        match serde_json::from_str(&text) {
            Ok(Line::Checkpoint { checkpoint }) => signed = Some(checkpoint),
            Ok(line) => match record(line) {
                Some(record) => verifier.record(&record),
                None => others.push(format!("line {number} is no record")),
            },
            Err(_) => others.push(format!("line {number} is no record")),
        }
    }
    let expected = kept.map(|kept| &kept.checkpoint).or(signed.as_ref());
    if expected.is_none() {
        others.push("the export has no checkpoint at its end".to_owned());
    }
    Ok(judge(verifier, expected, trusted, others))
}

fn record(line: Line) -> Option<LogRecord> {
    let digest = |text: &str| -> Option<[u8; 32]> { hex::decode(text).ok()?.try_into().ok() };
    let (sequence, previous, hash, record) = match line {
        Line::Record {
            sequence,
            previous,
            hash,
            record,
        } => (sequence, previous, hash, record.into_bytes()),
        Line::Damaged {
            sequence,
            previous,
            hash,
            record_base64,
        } => (
            sequence,
            previous,
            hash,
            STANDARD.decode(record_base64).ok()?,
        ),
        Line::Head { .. } | Line::Checkpoint { .. } => return None,
    };
    Some(LogRecord {
        sequence,
        epoch: 0,
        previous: digest(&previous)?,
        hash: digest(&hash)?,
        record,
    })
}

/// Verifies the copy of a data directory. Opening its store writes to it, so it has to be a copy.
pub(super) async fn verify_data(
    directory: &Path,
    kept: Option<&Anchor>,
    key: Option<VerifyingKey>,
) -> anyhow::Result<Verified> {
    let Some(key) = key.or(kept.map(|kept| kept.key)) else {
        bail!(
            "whoever made the copy may have made its keys: give --checkpoint with a checkpoint that was kept, or \
             --key with the verifying key"
        );
    };
    anyhow::ensure!(
        directory.join("store.redb").is_file(),
        "{} is no copy of a data directory: it has no store.redb",
        directory.display()
    );
    let store = RedbStore::open(directory, nexus_store::Options::default())
        .with_context(|| format!("failed to open the store in {}", directory.display()))?;
    let mut verifier = Verifier::new(&key);
    let signed = nexus_audit::read_store(&*store, |record| verifier.record(record))
        .await
        .context("failed to read the trail")?;
    let expected = kept.map(|kept| &kept.checkpoint).or(signed.as_ref());
    Ok(judge(verifier, expected, key, Vec::new()))
}
