//! The requests of `tests/forge-eval`, with the answers that a good model has given to them: forged and
//! called by the real binary. `make eval` does the same with a model that is really there.

use futures::StreamExt as _;
use nexus_tests::eval::{Case, Endpoint, Stage, cases, json, run, table};

/// Cases that are forged at the same time.
const AT_ONCE: usize = 3;

#[tokio::test(flavor = "multi_thread")]
async fn every_request_becomes_an_agent_that_does_what_was_asked() -> anyhow::Result<()> {
    let cases = cases()?;
    assert_eq!(cases.len(), 30);
    let stage = Stage::new(&cases, &Endpoint::Recorded).await?;
    let reports = futures::stream::iter(&cases).map(|case| run(&stage, case));
    let reports: Vec<_> = reports.buffered(AT_ONCE).collect().await;
    let table = table("recorded answers", &reports);
    let repairs = |case: &Case| case.attempts() - 1;
    for (case, report) in cases.iter().zip(&reports) {
        assert!(
            report.behaves,
            "{}: {:?}\n{table}",
            case.name, report.problem
        );
        // What is recorded as wrong is found, and mended at the first attempt.
        assert_eq!(report.repairs, repairs(case), "{}\n{table}", case.name);
    }
    let mended = cases.iter().filter(|case| repairs(case) > 0).count();
    assert!(
        mended >= 5,
        "only {mended} cases have a first answer that is wrong"
    );
    let summary = &json("recorded answers", &reports)["summary"];
    assert_eq!(summary["after_repair_rate"], 1.0, "{summary}");
    assert_eq!(summary["first_try_rate"], (30 - mended) as f64 / 30.0);
    assert!(
        summary["time_to_callable_p95_s"].as_f64() > Some(0.0),
        "{summary}"
    );
    assert!(table.contains("30 cases"), "{table}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_does_something_else_is_told_apart() -> anyhow::Result<()> {
    let mut cases = cases()?;
    cases.retain(|case| ["word-count", "webhook-on-threshold"].contains(&case.name.as_str()));
    for case in &mut cases {
        // One counts wrongly, the other alerts although nobody asked it to.
        case.spoil(".sum();", ".sum::<usize>() + 1;");
        case.spoil("queue.depth > input.limit", "queue.depth > 0");
    }
    let stage = Stage::new(&cases, &Endpoint::Recorded).await?;
    for case in &cases {
        let report = run(&stage, case).await;
        assert!(report.callable.is_some(), "{report:?}");
        assert!(!report.behaves && report.problem.is_some(), "{report:?}");
    }
    Ok(())
}
