//! `dev_save_ms`: from a save in an editor to the live generation, by `nexus dev`.

use std::time::Instant;

use nexus_tests::Host;
use nexus_tests::workshop::Project;

use crate::figure::{Figure, median};

const SAVES: usize = 10;

pub(crate) fn measure() -> anyhow::Result<Vec<Figure>> {
    let host = Host::start()?;
    let mut workshop = Project::new("saved")?.open(&host, &[])?;
    workshop.until("/deployed/agent/generation")?;
    let mut took = Vec::new();
    for number in 0..SAVES {
        let begin = Instant::now();
        workshop.project.save("src/lib.rs", |text| {
            let before = match number {
                0 => "{}, {}!".to_owned(),
                _ => format!("{{}}, {{}} {}!", number - 1),
            };
            text.replace(&before, &format!("{{}}, {{}} {number}!"))
        })?;
        let generation = workshop.until("/deployed/agent/generation")?;
        took.push(begin.elapsed().as_secs_f64() * 1e3);
        // Another component each time, or nothing was measured.
        anyhow::ensure!(generation == number + 2, "generation {generation}");
    }
    Ok(vec![Figure::new(
        "dev_save_ms",
        median(took),
        "ms",
        "<= 1000",
    )])
}
