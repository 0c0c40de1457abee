//! What a guest says while it works: bounded, and harmless on a terminal.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nexus_effects::Watch;

/// How serious a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// For the author of the agent.
    Debug,
    /// The normal course.
    Info,
    /// Something to look at.
    Warn,
    /// Something failed.
    Error,
}

impl Level {
    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// One line, already made harmless by [`escape`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Milliseconds since the epoch.
    pub time_ms: u64,
    /// How serious it is.
    pub level: Level,
    /// The text, without control characters.
    pub message: String,
}

/// Bytes of one line; the rest of it is cut.
const LINE_BYTES: usize = 8 << 10;
/// Bytes of lines kept for those who ask later.
const KEPT_BYTES: usize = 64 << 10;

/// The log of one invocation.
#[derive(Debug)]
pub(crate) struct Log {
    limit: u64,
    /// Secrets are taken out before a line is kept or shown.
    watch: Watch,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    kept: VecDeque<LogLine>,
    kept_bytes: usize,
    total: u64,
    dropped: u64,
    /// The unfinished line of standard output and of standard error.
    partial: [Vec<u8>; 2],
}

/// One of the two streams that WASI gives a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Out,
    Err,
}

impl Stream {
    fn level(self) -> Level {
        match self {
            Self::Out => Level::Info,
            Self::Err => Level::Warn,
        }
    }
}

impl Log {
    pub(crate) fn new(limit: u64, watch: Watch) -> Self {
        Self {
            limit,
            watch,
            inner: Mutex::default(),
        }
    }

    /// Takes a message; `None` if it is beyond the limit.
    pub(crate) fn write(&self, time_ms: u64, level: Level, message: &str) -> Option<LogLine> {
        self.lock()
            .write(self.limit, &self.watch, time_ms, level, message)
    }

    /// Takes bytes of a stream and returns the lines that they complete.
    pub(crate) fn stream(&self, time_ms: u64, stream: Stream, bytes: &[u8]) -> Vec<LogLine> {
        let mut inner = self.lock();
        let mut lines = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let partial = &mut inner.partial[stream as usize];
            // A line without end is worth no more memory than a line.
            let room = (LINE_BYTES + 1).saturating_sub(partial.len());
            partial.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.ends_with(b"\n") {
                let line = std::mem::take(partial);
                let text = String::from_utf8_lossy(&line);
                let text = text.trim_end_matches(['\n', '\r']);
                let level = stream.level();
                lines.extend(inner.write(self.limit, &self.watch, time_ms, level, text));
            } else {
                inner.total = inner
                    .total
                    .saturating_add(piece.len().saturating_sub(room) as u64);
            }
        }
        lines
    }

    /// Ends the unfinished lines of both streams.
    pub(crate) fn flush(&self, time_ms: u64) -> Vec<LogLine> {
        let mut inner = self.lock();
        let mut lines = Vec::new();
        for stream in [Stream::Out, Stream::Err] {
            let line = std::mem::take(&mut inner.partial[stream as usize]);
            if !line.is_empty() {
                let text = String::from_utf8_lossy(&line);
                let level = stream.level();
                lines.extend(inner.write(self.limit, &self.watch, time_ms, level, &text));
            }
        }
        lines
    }

    /// The last lines, at most 64 KiB of them.
    pub(crate) fn kept(&self) -> Vec<LogLine> {
        self.lock().kept.iter().cloned().collect()
    }

    /// How many messages were dropped because the limit was used up.
    pub(crate) fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn write(
        &mut self,
        limit: u64,
        watch: &Watch,
        time_ms: u64,
        level: Level,
        message: &str,
    ) -> Option<LogLine> {
        self.total = self.total.saturating_add(message.len() as u64);
        if self.total > limit {
            self.dropped += 1;
            return None;
        }
        let clean = watch.redact(message);
        let line = LogLine {
            time_ms,
            level,
            message: escape(cut(clean.as_deref().unwrap_or(message))),
        };
        self.kept_bytes += line.message.len();
        self.kept.push_back(line.clone());
        while self.kept_bytes > KEPT_BYTES {
            let Some(oldest) = self.kept.pop_front() else {
                break;
            };
            self.kept_bytes -= oldest.message.len();
        }
        Some(line)
    }
}

fn cut(message: &str) -> &str {
    &message[..message.floor_char_boundary(LINE_BYTES)]
}

/// Writes out every character that could move a cursor, hide text, or show it
/// in another order than it is in: `\n`, `\u{1b}`, `\u{202e}`.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\t' => escaped.push('\t'),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            _ if is_harmful(character) => {
                // Writing to a string does not fail.
                let _ = write!(escaped, "\\u{{{:x}}}", u32::from(character));
            }
            _ => escaped.push(character),
        }
    }
    escaped
}

fn is_harmful(character: char) -> bool {
    character.is_control() || nexus_gate::is_hidden(character)
}
