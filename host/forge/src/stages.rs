use std::sync::Mutex;
use std::time::{Duration, Instant};

use nexus_store::now_ms;
use tokio::sync::mpsc;

use crate::event::{Detail, Event, Stage, StageState};
use crate::failure::Reason;

/// Tells whoever listens where a forge stands. Nobody has to.
#[derive(Debug)]
pub(crate) struct Stages {
    sender: mpsc::UnboundedSender<Event>,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    sequence: u64,
    stage: Stage,
    started_ms: u64,
    started: Instant,
    /// Waiting for people does not count.
    waited: Duration,
    /// What the model said and nobody was told yet.
    said: String,
    /// How many more bytes of what it says are told.
    room: usize,
}

/// Bytes of a model's answers that a forge tells. All of the code it wrote is in its lineage.
const MODEL_BYTES: usize = 256 * 1024;
/// A piece of an answer is told when it is a line of this length, or has that many bytes.
const LINE_BYTES: usize = 64;
const PIECE_BYTES: usize = 256;

impl Stages {
    pub(crate) fn new(sender: mpsc::UnboundedSender<Event>) -> Self {
        Self {
            sender,
            current: Mutex::new(Current {
                sequence: 0,
                stage: Stage::Spec,
                started_ms: now_ms(),
                started: Instant::now(),
                waited: Duration::ZERO,
                said: String::new(),
                room: MODEL_BYTES,
            }),
        }
    }

    /// A stage begins.
    pub(crate) fn begin(&self, stage: Stage) {
        {
            let mut current = self.lock();
            self.flush(&mut current);
            current.stage = stage;
            current.started_ms = now_ms();
            current.started = Instant::now();
            current.waited = Duration::ZERO;
        }
        self.send(StageState::Running, None);
    }

    /// The stage tells something and goes on.
    pub(crate) fn tell(&self, detail: Detail) {
        self.send(StageState::Running, Some(detail));
    }

    /// The stage ends.
    pub(crate) fn end(&self, state: StageState, detail: Option<Detail>) {
        self.send(state, detail);
    }

    /// The stage ends, and the forge with it.
    pub(crate) fn finish(&self, state: StageState, detail: Option<Detail>) {
        self.last(state, detail, None);
    }

    /// The stage fails, and the forge with it.
    pub(crate) fn fail(&self, reason: Reason, detail: Detail) {
        self.last(StageState::Failed, Some(detail), Some(reason));
    }

    fn last(&self, state: StageState, detail: Option<Detail>, failed: Option<Reason>) {
        let mut current = self.lock();
        self.flush(&mut current);
        let mut event = Self::event(&mut current, state, detail);
        event.failed = failed;
        event.last = true;
        self.emit(event);
    }

    /// Leaves the time out that this takes from the moment `stopped` says.
    pub(crate) fn waited(&self, since: Instant) {
        let mut current = self.lock();
        current.waited += since.elapsed();
    }

    /// The model says something. Told in pieces that are worth an event.
    pub(crate) fn tell_model(&self, piece: &str) {
        let mut current = self.lock();
        current.said.push_str(piece);
        let line = current.said.ends_with('\n') && current.said.len() >= LINE_BYTES;
        if line || current.said.len() >= PIECE_BYTES {
            self.flush(&mut current);
        }
    }

    fn flush(&self, current: &mut Current) {
        let said = std::mem::take(&mut current.said);
        if said.is_empty() || current.room == 0 {
            return;
        }
        let detail = if said.len() <= current.room {
            current.room -= said.len();
            Detail::ModelText(said)
        } else {
            current.room = 0;
            Detail::Log("the model says more than is told".to_owned())
        };
        let event = Self::event(current, StageState::Running, Some(detail));
        self.emit(event);
    }

    fn send(&self, state: StageState, detail: Option<Detail>) {
        let mut current = self.lock();
        self.flush(&mut current);
        let event = Self::event(&mut current, state, detail);
        self.emit(event);
    }

    /// The next event.
    fn event(current: &mut Current, state: StageState, detail: Option<Detail>) -> Event {
        current.sequence += 1;
        let duration = (state != StageState::Running)
            .then(|| current.started.elapsed().saturating_sub(current.waited));
        Event {
            sequence: current.sequence,
            stage: current.stage,
            state,
            started_ms: current.started_ms,
            duration,
            detail,
            failed: None,
            last: false,
        }
    }

    fn emit(&self, event: Event) {
        // A client that went away does not stop a forge.
        let _ = self.sender.send(event);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Current> {
        self.current
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
