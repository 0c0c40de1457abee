//! What was measured, and what it is held against.

use std::fmt;

use serde::Serialize;

/// One measured value.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    /// Such as `>= 0.35`; empty if it is only told.
    pub(crate) bar: &'static str,
}

impl Figure {
    pub(crate) fn new(
        name: &'static str,
        value: f64,
        unit: &'static str,
        bar: &'static str,
    ) -> Self {
        Self {
            name,
            value,
            unit,
            bar,
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            value,
            unit,
            bar,
        } = self;
        write!(f, "{name} {value:.3} {unit} (bar {bar})")
    }
}

/// The figures as a Markdown table.
pub(crate) fn table(figures: &[Figure]) -> String {
    let mut table = String::from("| figure | value | unit | bar |\n|---|---|---|---|\n");
    for Figure {
        name,
        value,
        unit,
        bar,
    } in figures
    {
        let value = if value.abs() >= 100.0 {
            format!("{value:.0}")
        } else {
            format!("{value:.2}")
        };
        table.push_str(&format!("| `{name}` | {value} | {unit} | {bar} |\n"));
    }
    table
}

/// The value in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values[middle]
    } else {
        (values[middle - 1] + values[middle]) / 2.0
    }
}

/// The value below which 99 of 100 lie.
pub(crate) fn p99(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() * 99 / 100).min(values.len() - 1)]
}
