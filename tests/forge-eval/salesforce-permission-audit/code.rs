use nexus_agent::prelude::*;

const BASE: &str = "{{origin}}";
const QUERY: &str =
    "SELECT Name, PermissionsModifyAllData, PermissionsViewAllData FROM PermissionSet";

#[derive(Deserialize)]
struct Page {
    records: Vec<PermissionSet>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PermissionSet {
    name: String,
    permissions_modify_all_data: bool,
    permissions_view_all_data: bool,
}

#[derive(Serialize)]
struct Output {
    checked: usize,
    risky: Vec<Finding>,
}

#[derive(Serialize)]
struct Finding {
    name: String,
    rights: Vec<&'static str>,
}

fn invoke(_: Value) -> Result<Output> {
    let token = vault::secret("salesforce-token")?;
    let page: Page = http::request(http::Method::Get, format!("{BASE}/services/data/v60.0/query"))
        .query("q", QUERY)
        .bearer(&token)
        .send()?
        .json()?;
    let checked = page.records.len();
    let mut risky = Vec::new();
    for set in page.records {
        let mut rights = Vec::new();
        if set.permissions_modify_all_data {
            rights.push("ModifyAllData");
        }
        if set.permissions_view_all_data {
            rights.push("ViewAllData");
        }
        if !rights.is_empty() {
            risky.push(Finding { name: set.name, rights });
        }
    }
    Ok(Output { checked, risky })
}

nexus_agent::export!(invoke);
