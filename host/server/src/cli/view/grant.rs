use nexus_proto::v1::Grant;

use crate::cli::text::{Table, id, line, time, word};

/// The standing grants, one line each.
pub(crate) fn list(grants: &[Grant]) -> String {
    let mut table = Table::new(["GRANT", "ANSWERS", "BY", "EXPIRES", "USES", "LEFT", "WHAT"]);
    for grant in grants {
        let component = grant
            .scope
            .as_ref()
            .is_some_and(|scope| scope.component_digest.is_empty());
        let any = if component { ", any version" } else { "" };
        table.row([
            id(&grant.name).to_owned(),
            word(grant.verdict().as_str_name(), "VERDICT_"),
            grant.principal.clone(),
            time(grant.expire_time.as_ref()),
            grant.uses.to_string(),
            grant.uses_left.to_string(),
            line(&format!("{}{any}", grant.summary)),
        ]);
    }
    table.to_string()
}
