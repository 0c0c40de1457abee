use nexus_proto::v1::Token;

use crate::cli::text::{Table, id, time, word};

/// The tokens, one line each.
pub(crate) fn list(tokens: &[Token]) -> String {
    let mut table = Table::new([
        "TOKEN",
        "PRINCIPAL",
        "ROLE",
        "CREATED",
        "EXPIRES",
        "REVOKED",
    ]);
    for token in tokens {
        table.row([
            id(&token.name).to_owned(),
            token.principal.clone(),
            word(token.role().as_str_name(), "ROLE_"),
            time(token.create_time.as_ref()),
            time(token.expire_time.as_ref()),
            time(token.revoke_time.as_ref()),
        ]);
    }
    table.to_string()
}
