use nexus_agent::prelude::*;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Input {
    expenses: Vec<Expense>,
}

#[derive(Deserialize)]
struct Expense {
    category: String,
    amount: f64,
}

#[derive(Serialize)]
struct Output {
    total: f64,
    by_category: BTreeMap<String, f64>,
    largest: Option<String>,
}

fn cents(amount: f64) -> f64 {
    (amount * 100.0).round() / 100.0
}

fn invoke(input: Input) -> Result<Output> {
    let mut by_category: BTreeMap<String, f64> = BTreeMap::new();
    for expense in input.expenses {
        *by_category.entry(expense.category).or_default() += expense.amount;
    }
    let total = cents(by_category.values().sum());
    for sum in by_category.values_mut() {
        *sum = cents(*sum);
    }
    let largest = by_category.iter().max_by(|a, b| a.1.total_cmp(b.1));
    let largest = largest.map(|(category, _)| category.clone());
    Ok(Output { total, by_category, largest })
}

nexus_agent::export!(invoke);
