use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;

use crate::event::{Detail, Event, Stage, StageState};

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
}

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
            }),
        }
    }

    /// A stage begins.
    pub(crate) fn begin(&self, stage: Stage) {
        {
            let mut current = self.lock();
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

    /// Leaves the time out that this takes from the moment `stopped` says.
    pub(crate) fn waited(&self, since: Instant) {
        let mut current = self.lock();
        current.waited += since.elapsed();
    }

    fn send(&self, state: StageState, detail: Option<Detail>) {
        let mut current = self.lock();
        current.sequence += 1;
        let duration = (state != StageState::Running)
            .then(|| current.started.elapsed().saturating_sub(current.waited));
        let event = Event {
            sequence: current.sequence,
            stage: current.stage,
            state,
            started_ms: current.started_ms,
            duration,
            detail,
        };
        // A client that went away does not stop a forge.
        let _ = self.sender.send(event);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Current> {
        self.current
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
