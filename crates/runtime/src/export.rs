//! Export of connections: documents without secrets, which `connection add` reads.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use trunkline_core::{Connection, Result, hide_url_passwords};

use crate::runtime::Runtime;

/// An exported connection.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Exported {
    /// The document. References to secrets stay as they were written; every other secret is replaced by a reference.
    pub document: Value,
    /// The environment variables that must be set where the document is used.
    pub provide: Vec<Provide>,
}

/// An environment variable that stands for a secret that was not exported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Provide {
    /// The name of the variable.
    pub env: String,
    /// The connection that needs it.
    pub connection: String,
    /// The setting, as a JSON pointer.
    pub setting: String,
}

impl Runtime {
    /// Exports one connection, or all. Nothing is decrypted, so nothing can leak.
    ///
    /// # Errors
    ///
    /// `not_found` if there is no such connection.
    pub async fn export_connections(&self, name: Option<&str>) -> Result<Vec<Exported>> {
        let names = match name {
            Some(name) => vec![name.to_owned()],
            None => self.connections().connections().await?.into_iter().map(|one| one.name).collect(),
        };
        let (mut all, mut taken) = (Vec::new(), BTreeSet::new());
        for name in names {
            all.push(self.export(&name, &mut taken).await?);
        }
        Ok(all)
    }

    async fn export(&self, name: &str, taken: &mut BTreeSet<String>) -> Result<Exported> {
        let mut masked = self.connections().masked_connection(name).await?;
        hide_url_passwords(&mut masked);
        let masked = Connection::from_value(masked)?;
        let connection = self.registry().current(&masked)?;
        let settings = self.registry().connector(connection.connector_name())?.settings();
        let (mut document, mut provide) = (connection.document(), Vec::new());
        for setting in settings.secrets(&document) {
            // A text in the place of a secret is the mask, regardless of its value.
            if let Some(value) = document.pointer_mut(&setting).filter(|value| !value.is_object()) {
                let env = free(variable(name, &setting), taken);
                *value = json!({ "env": env });
                provide.push(Provide { env, connection: name.to_owned(), setting });
            }
        }
        Ok(Exported { document, provide })
    }
}

/// `/clientSecret` of `brand-library` is `BRAND_LIBRARY_CLIENT_SECRET`.
fn variable(name: &str, setting: &str) -> String {
    let mut variable = String::new();
    let mut last = '_';
    for c in format!("{name}{setting}").chars() {
        if c.is_ascii_uppercase() && (last.is_ascii_lowercase() || last.is_ascii_digit()) {
            variable.push('_');
        }
        last = c;
        variable.push(if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' });
    }
    // In shells, the name of a variable cannot start with a digit.
    if variable.starts_with(|c: char| c.is_ascii_digit()) { format!("_{variable}") } else { variable }
}

/// Returns the name, with a number if another setting has the same one.
fn free(variable: String, taken: &mut BTreeSet<String>) -> String {
    let numbered = (2..).map(|number: u32| format!("{variable}_{number}"));
    let found = std::iter::once(variable.clone()).chain(numbered).find(|one| !taken.contains(one)).unwrap_or(variable);
    taken.insert(found.clone());
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_named_after_connection_and_setting() {
        for (name, setting, expected) in [
            ("brand-library", "/clientSecret", "BRAND_LIBRARY_CLIENT_SECRET"),
            ("dam", "/flow/password", "DAM_FLOW_PASSWORD"),
            ("DamTwo", "/headers/0/x~1key", "DAM_TWO_HEADERS_0_X_1KEY"),
            ("2dam", "/token", "_2DAM_TOKEN"),
        ] {
            assert_eq!(variable(name, setting), expected);
        }
        let mut taken = BTreeSet::new();
        let names = ["a-b", "a_b", "A.b"].map(|name| free(variable(name, "/token"), &mut taken));
        assert_eq!(names, ["A_B_TOKEN", "A_B_TOKEN_2", "A_B_TOKEN_3"]);
    }
}
