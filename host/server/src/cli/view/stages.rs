//! The stages of a forge, live where somebody looks on.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use nexus_proto::v1::{
    ForgeEvent,
    forge_event::{Detail, State},
};

use super::forge;
use crate::cli::{
    output::{note, part},
    text::{block, word},
};

/// How often the clock of a stage is drawn.
const TICK: Duration = Duration::from_millis(100);

/// Tells stages on stderr. On a terminal the one that runs has a clock; elsewhere a stage is told when
/// it has something to say or ends.
pub(crate) struct Stages {
    clock: Option<ProgressBar>,
    /// Whether there is a terminal for a clock.
    watched: bool,
    /// Whether a model is in the middle of a line.
    unfinished: bool,
}

impl Stages {
    pub(crate) fn new(silent: bool) -> Self {
        Self {
            clock: None,
            watched: !silent && std::io::stderr().is_terminal(),
            unfinished: false,
        }
    }

    pub(crate) fn tell(&mut self, event: &ForgeEvent) {
        if let Some(Detail::ModelText(piece)) = &event.detail {
            // As it was said: a line goes on in the next piece.
            self.clear();
            part(&block(piece));
            self.unfinished = !piece.ends_with('\n');
            return;
        }
        if std::mem::take(&mut self.unfinished) {
            note("");
        }
        let begins = event.state() == State::Running && event.detail.is_none();
        if begins {
            self.clear();
            if self.watched {
                self.clock = Some(clock(&word(event.stage().as_str_name(), "STAGE_")));
            }
            return;
        }
        let text = forge::event(event);
        let text = text.trim_end_matches('\n');
        if event.state() != State::Running {
            self.clear();
        }
        match &self.clock {
            _ if text.is_empty() => {}
            Some(clock) => clock.suspend(|| note(text)),
            None => note(text),
        }
    }

    /// Takes the clock away.
    pub(crate) fn clear(&mut self) {
        if let Some(clock) = self.clock.take() {
            clock.finish_and_clear();
        }
    }
}

fn clock(stage: &str) -> ProgressBar {
    let clock = ProgressBar::new_spinner();
    // The template is a constant; without it the clock looks plainer.
    if let Ok(style) = ProgressStyle::with_template("{msg:<10} {spinner} {elapsed}") {
        clock.set_style(style);
    }
    clock.set_message(stage.to_owned());
    clock.enable_steady_tick(TICK);
    clock
}
