//! How it went, as a table and as JSON.

use std::time::Duration;

use serde_json::{Value, json};

/// How one case went.
#[derive(Debug, Clone)]
pub struct Report {
    /// The case.
    pub name: String,
    /// How often what the model wrote had to be mended.
    pub repairs: usize,
    /// How long it took until the agent could be called, the yes of a person included.
    pub callable: Option<Duration>,
    /// Whether it does what the words ask for.
    pub behaves: bool,
    /// What was wrong.
    pub problem: Option<String>,
}

impl Report {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            repairs: 0,
            callable: None,
            behaves: false,
            problem: None,
        }
    }

    /// Whether the first code was right.
    pub fn at_first_try(&self) -> bool {
        self.behaves && self.repairs == 0
    }
}

/// The value below or at which so many of a hundred lie.
fn percentile(sorted: &[f64], hundredth: usize) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    Some(sorted[(sorted.len() * hundredth / 100).min(last)])
}

/// The figures over all cases.
fn summary(reports: &[Report]) -> Value {
    let mut times: Vec<f64> = reports
        .iter()
        .filter_map(|report| Some(report.callable?.as_secs_f64()))
        .collect();
    times.sort_by(f64::total_cmp);
    let share = |count: usize| count as f64 / reports.len().max(1) as f64;
    let count = |wanted: fn(&Report) -> bool| reports.iter().filter(|it| wanted(it)).count();
    json!({
        "cases": reports.len(),
        "first_try_rate": share(count(Report::at_first_try)),
        "after_repair_rate": share(count(|report| report.behaves)),
        "callable_rate": share(times.len()),
        "time_to_callable_median_s": percentile(&times, 50),
        "time_to_callable_p95_s": percentile(&times, 95),
    })
}

/// All of it as JSON.
pub fn json(model: &str, reports: &[Report]) -> Value {
    let cases: Vec<Value> = reports
        .iter()
        .map(|report| {
            json!({
                "name": report.name,
                "repairs": report.repairs,
                "time_to_callable_s": report.callable.map(|time| time.as_secs_f64()),
                "behaves": report.behaves,
                "problem": report.problem,
            })
        })
        .collect();
    json!({ "model": model, "summary": summary(reports), "cases": cases })
}

/// All of it as a Markdown table, with the figures below.
pub fn table(model: &str, reports: &[Report]) -> String {
    let mut table = String::from(
        "| case | repairs | callable after | does what was asked |\n|---|---|---|---|\n",
    );
    for report in reports {
        let time = report
            .callable
            .map(|time| format!("{:.2} s", time.as_secs_f64()));
        let verdict = match &report.problem {
            None => "yes".to_owned(),
            Some(problem) => format!("no: {}", problem.replace(['\n', '|'], " ")),
        };
        table += &format!(
            "| {} | {} | {} | {verdict} |\n",
            report.name,
            report.repairs,
            time.as_deref().unwrap_or("never")
        );
    }
    let summary = summary(reports);
    let percent = |name: &str| summary[name].as_f64().unwrap_or_default() * 100.0;
    let seconds = |name: &str| summary[name].as_f64().unwrap_or_default();
    table
        + &format!(
            "\n{model}: {} cases, {:.0}% right at the first try, {:.0}% after repair; callable after {:.2} s (median), {:.2} s (95 of 100)\n",
            reports.len(),
            percent("first_try_rate"),
            percent("after_repair_rate"),
            seconds("time_to_callable_median_s"),
            seconds("time_to_callable_p95_s"),
        )
}
