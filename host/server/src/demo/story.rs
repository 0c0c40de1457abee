//! How the demo is told, and where its time went.

use std::time::{Duration, Instant};

use anyhow::bail;
use serde_json::json;

use crate::cli::{output::Output, prompt, text::Table};

/// Tells the demo to a person, or, in JSON, sums it up at the end and tells it on stderr.
pub(super) struct Story {
    yes: bool,
    output: Output,
    began: Instant,
    scenes: u32,
    times: Vec<(String, Duration)>,
    facts: serde_json::Map<String, serde_json::Value>,
}

impl Story {
    pub(super) fn new(yes: bool, output: Output) -> Self {
        Self {
            yes,
            output,
            began: Instant::now(),
            scenes: 0,
            times: Vec::new(),
            facts: serde_json::Map::new(),
        }
    }

    /// Begins a scene.
    pub(super) fn scene(&mut self, title: &str) {
        self.scenes += 1;
        self.say(&format!("\n{}. {title}", self.scenes));
    }

    /// Says some lines, which have to be escaped already.
    pub(super) fn say(&self, text: &str) {
        let text = text.trim_end_matches('\n');
        // A reader that is gone does not change what happens.
        if self.output.is_json() || self.output.text(text).is_err() {
            self.output.note(text);
        }
    }

    /// Notes that something took this long.
    pub(super) fn took(&mut self, what: &str, time: Duration) {
        self.times.push((what.to_owned(), time));
    }

    /// Notes that something began then and has just ended.
    pub(super) fn since(&mut self, what: &str, began: Instant) {
        self.took(what, began.elapsed());
    }

    /// Keeps something for the summary.
    pub(super) fn fact(&mut self, name: &str, value: impl Into<serde_json::Value>) {
        self.facts.insert(name.to_owned(), value.into());
    }

    /// Asks a person, or says aloud that `--yes` answers.
    pub(super) async fn ask(&mut self, question: &str) -> anyhow::Result<()> {
        if self.yes {
            self.say(&format!("   {question} yes (answered by --yes)"));
            return Ok(());
        }
        let began = Instant::now();
        let yes = prompt::confirm(question.to_owned()).await?;
        self.since("you thought about it", began);
        if !yes {
            bail!("you said no, so nothing was done and the demo ends here");
        }
        Ok(())
    }

    /// Shows where each second went.
    pub(super) fn end(self) -> anyhow::Result<()> {
        let total = self.began.elapsed();
        let rest = total.saturating_sub(self.times.iter().map(|(_, time)| *time).sum());
        let rows = || {
            self.times
                .iter()
                .map(|(what, time)| (what.as_str(), *time))
                .chain([("everything else", rest), ("in all", total)])
        };
        if self.output.is_json() {
            let times: Vec<_> = rows()
                .map(|(what, time)| json!({ "what": what, "seconds": time.as_secs_f64() }))
                .collect();
            let mut summary = self.facts;
            summary.insert("times".to_owned(), times.into());
            return self.output.json(&summary.into());
        }
        let mut table = Table::new(["WHERE EACH SECOND WENT", "SECONDS"]);
        for (what, time) in rows() {
            table.row([what.to_owned(), format!("{:>8.3}", time.as_secs_f64())]);
        }
        self.say(&format!("\n{table}\nAll of it happened."));
        Ok(())
    }
}
