use nexus_agent::prelude::*;

#[derive(Deserialize)]
struct Input {
    days: u32,
}

#[derive(Deserialize)]
struct Ticket {
    id: u64,
    days_idle: u32,
}

#[derive(Serialize, Default)]
struct Output {
    closed: Vec<u64>,
    left_open: Vec<u64>,
}

fn invoke(input: Input) -> Result<Output> {
    let tickets: Vec<Ticket> = http::get("{{origin}}/tickets")?.json()?;
    let mut output = Output::default();
    for ticket in tickets.iter().filter(|ticket| ticket.days_idle > input.days) {
        let answer = http::patch(format!("{{origin}}/tickets/{}", ticket.id))
            .json(&json!({ "state": "closed" }))
            .send();
        match answer {
            Ok(response) => {
                response.error_for_status()?;
                output.closed.push(ticket.id);
            }
            Err(Error::Denied(_)) => output.left_open.push(ticket.id),
            Err(error) => return Err(error),
        }
    }
    Ok(output)
}

nexus_agent::export!(invoke);
