//! What hosts have said of their audit trails: the newest head of each is remembered on this machine,
//! so that `nexus audit verify` finds a trail that was rewritten or cut since.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use http::{Request, Response};
use nexus_store::{Position, now_ms};
use serde::{Deserialize, Serialize};
use tower::Service;

use crate::head::HEADER;

/// Hosts that are remembered; the one that was not heard of for longest makes room.
const HOSTS: usize = 100;

/// Of this process: the newest head of each signing key.
static SEEN: Mutex<BTreeMap<String, Position>> = Mutex::new(BTreeMap::new());

/// A transport that takes note of the heads in the answers.
#[derive(Clone)]
pub(crate) struct Noting<S>(pub(crate) S);

/// One head as it is remembered.
#[derive(Serialize, Deserialize)]
struct Remembered {
    sequence: u64,
    hash: String,
    seen_ms: u64,
}

type Memory = BTreeMap<String, Remembered>;

impl<S, B, C> Service<Request<B>> for Noting<S>
where
    S: Service<Request<B>, Response = Response<C>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let answer = self.0.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            let head = answer.headers().get(HEADER);
            if let Some((key, head)) = head.and_then(|head| parse(head.to_str().ok()?)) {
                let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
                let newest = seen.entry(key).or_insert(head);
                if newest.sequence < head.sequence {
                    *newest = head;
                }
            }
            Ok(answer)
        })
    }
}

fn parse(text: &str) -> Option<(String, Position)> {
    let mut parts = text.splitn(3, ':');
    let key = parts.next()?;
    let sequence = parts.next()?.parse().ok()?;
    let hash = hash(parts.next()?)?;
    let known = key.len() == 16 && key.bytes().all(|byte| byte.is_ascii_hexdigit());
    known.then(|| (key.to_owned(), Position { sequence, hash }))
}

fn hash(text: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    hex::decode_to_slice(text, &mut hash).ok()?;
    Some(hash)
}

/// The newest head that any earlier command has seen of the trail that this key signs.
pub(crate) fn remembered(key_id: &str) -> Option<Position> {
    let memory = read()?;
    let head = memory.get(key_id)?;
    Some(Position {
        sequence: head.sequence,
        hash: hash(&head.hash)?,
    })
}

/// Remembers what this process has seen. That it can't is no reason for a command to fail.
pub(crate) fn remember() {
    let seen = std::mem::take(&mut *SEEN.lock().unwrap_or_else(PoisonError::into_inner));
    let Some(file) = file().filter(|_| !seen.is_empty()) else {
        return;
    };
    let mut memory = read().unwrap_or_default();
    let mut news = false;
    for (key, head) in seen {
        if memory
            .get(&key)
            .is_some_and(|known| known.sequence >= head.sequence)
        {
            continue;
        }
        news = true;
        let remembered = Remembered {
            sequence: head.sequence,
            hash: hex::encode(head.hash),
            seen_ms: now_ms(),
        };
        memory.insert(key, remembered);
    }
    if !news {
        return;
    }
    while memory.len() > HOSTS {
        let oldest = memory.iter().min_by_key(|(_, head)| head.seen_ms);
        let Some(oldest) = oldest.map(|(key, _)| key.clone()) else {
            break;
        };
        memory.remove(&oldest);
    }
    // Under another name first: a command that reads meanwhile finds the old file or the new one.
    let write = || -> std::io::Result<()> {
        let directory = file.parent().unwrap_or(&file);
        std::fs::create_dir_all(directory)?;
        let text = serde_json::to_vec_pretty(&memory).map_err(std::io::Error::other)?;
        let unfinished = tempfile::NamedTempFile::new_in(directory)?;
        std::fs::write(unfinished.path(), text)?;
        unfinished.persist(&file)?;
        Ok(())
    };
    let _ = write();
}

fn read() -> Option<Memory> {
    serde_json::from_slice(&std::fs::read(file()?).ok()?).ok()
}

/// `$XDG_STATE_HOME/nexus/audit-heads.json`, else below `~/.local/state`.
fn file() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let state = variable("XDG_STATE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(variable("HOME")?).join(".local/state")))?;
    Some(state.join("nexus/audit-heads.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_head_is_taken_for_one() {
        let good = format!("0123456789abcdef:12:{}", "7f".repeat(32));
        let (key, head) = parse(&good).expect("a head");
        assert_eq!(
            (key.as_str(), head.sequence, head.hash),
            ("0123456789abcdef", 12, [0x7f; 32])
        );
        for bad in [
            "",
            "0123456789abcdef:12:7f",
            "../../etc/passwd:1:",
            &good[1..],
            &good[..80],
        ] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }
}
