use nexus_agent::prelude::*;

#[derive(Deserialize)]
struct Input {
    contacts: Vec<Contact>,
}

#[derive(Serialize, Deserialize)]
struct Contact {
    name: String,
    email: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    phone: Option<String>,
}

#[derive(Serialize)]
struct Output {
    contacts: Vec<Contact>,
}

fn invoke(input: Input) -> Result<Output> {
    let mut contacts: Vec<Contact> = Vec::new();
    for contact in input.contacts {
        let email = contact.email.to_lowercase();
        match contacts.iter_mut().find(|known| known.email == email) {
            Some(known) => known.phone = known.phone.take().or(contact.phone),
            None => contacts.push(Contact { email, ..contact }),
        }
    }
    Ok(Output { contacts })
}

nexus_agent::export!(invoke);
