use nexus_agent::prelude::*;

const KEPT: usize = 5;

#[derive(Deserialize)]
struct Input {
    value: f64,
}

#[derive(Serialize)]
struct Output {
    count: usize,
    average: f64,
}

fn invoke(input: Input) -> Result<Output> {
    let space = memory::space("sensor")?;
    let mut readings: Vec<f64> = space.get_json("readings")?.unwrap_or_default();
    readings.push(input.value);
    let old = readings.len().saturating_sub(KEPT);
    readings.drain(..old);
    space.put_json("readings", &readings)?;
    let average = readings.iter().sum::<f64>() / readings.len() as f64;
    Ok(Output { count: readings.len(), average })
}

nexus_agent::export!(invoke);
