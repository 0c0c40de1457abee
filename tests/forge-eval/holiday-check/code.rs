use nexus_agent::prelude::*;

#[derive(Deserialize)]
struct Input {
    date: String,
}

#[derive(Deserialize)]
struct Config {
    country: String,
}

#[derive(Deserialize)]
struct Holiday {
    date: String,
    name: String,
}

#[derive(Serialize)]
struct Output {
    holiday: Option<String>,
    weekend: bool,
    working_day: bool,
}

/// 0 is Sunday, by Sakamoto's method.
fn weekday(year: i64, month: i64, day: i64) -> i64 {
    const SHIFTS: [i64; 12] = [0, 3, 2, 5, 0, 3, 5, 1, 4, 6, 2, 4];
    let year = if month < 3 { year - 1 } else { year };
    let shift = SHIFTS[(month - 1).rem_euclid(12) as usize];
    (year + year / 4 - year / 100 + year / 400 + shift + day) % 7
}

fn invoke(input: Input) -> Result<Output> {
    let mut parts = input.date.split('-').map(str::parse::<i64>);
    let (Some(year), Some(month), Some(day)) = (parts.next(), parts.next(), parts.next()) else {
        fail!("bad-date", "{} is no date", input.date);
    };
    let (year, month, day) = (year?, month?, day?);
    ensure!((1..=12).contains(&month), "bad-date", "there is no month {month}");
    let config: Config = config::get()?;
    let holidays: Vec<Holiday> =
        http::request(http::Method::Get, format!("{{origin}}/holidays/{year}.json"))
            .header("x-country", &config.country)
            .send()?
            .json()?;
    let holiday = holidays.into_iter().find(|holiday| holiday.date == input.date);
    let weekend = matches!(weekday(year, month, day), 0 | 6);
    let working_day = holiday.is_none() && !weekend;
    Ok(Output { holiday: holiday.map(|holiday| holiday.name), weekend, working_day })
}

nexus_agent::export!(invoke);
