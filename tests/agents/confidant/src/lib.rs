//! Asks to see a secret, and passes it on in every way there is: the one guest of the world `trusted-agent`.

use nexus_agent::prelude::*;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", tag = "do")]
enum Step {
    /// Asks to see a secret. Answers its length and the sum of its bytes.
    Reveal { secret: String, reason: String },
    /// Answers the secret itself.
    Tell,
    /// Answers it backwards.
    TellBackwards,
    /// Logs it, tells it as progress, prints it.
    Log,
    /// Fails, with it in the message.
    Fail,
    /// Writes it into a space; backwards if so said.
    Remember { space: String, backwards: bool },
    /// Calls a peer with it.
    Pass { peer: String },
    /// Reads a URL, with it in a header; backwards if so said.
    Send { url: String, backwards: bool },
    /// Reads a URL without it.
    Read { url: String },
}

export!(invoke);

fn invoke(steps: Vec<Step>) -> Result<Vec<Value>> {
    let mut known = String::new();
    let mut answers = Vec::new();
    for step in steps {
        if matches!(step, Step::Fail) {
            fail!("told", "it is {known}");
        }
        answers.push(match run(step, &mut known) {
            Ok(value) => json!({ "ok": value }),
            Err(error) => json!({ "error": error.code(), "text": error.to_string() }),
        });
    }
    Ok(answers)
}

fn run(step: Step, known: &mut String) -> Result<Value> {
    let told = |backwards: bool| match backwards {
        true => known.chars().rev().collect(),
        false => known.clone(),
    };
    Ok(match step {
        Step::Reveal { secret, reason } => {
            *known = vault::secret(secret)?.reveal(reason)?;
            let sum: u32 = known.bytes().map(u32::from).sum();
            json!({ "length": known.len(), "sum": sum })
        }
        Step::Tell => json!(known),
        Step::TellBackwards => json!(told(true)),
        Step::Log | Step::Fail => {
            log::info!("it is {known}");
            log::progress(0.5, format!("it is {known}"));
            println!("it is {known}");
            Value::Null
        }
        Step::Remember { space, backwards } => {
            json!(memory::space(space)?.put("it", told(backwards))?)
        }
        Step::Pass { peer } => bus::peer(peer)?.call(&known)?.json()?,
        Step::Send { url, backwards } => {
            let request = http::request(http::Method::Get, url);
            let response = request.header("x-note", told(backwards)).send()?;
            json!(response.status())
        }
        Step::Read { url } => json!(http::get(url)?.status()),
    })
}
