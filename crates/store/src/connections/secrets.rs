//! The secrets of a connection's document. The document is stored with `***` in the place of each secret.

use serde::Deserialize;
use serde_json::Value;
use trunkline_core::{Connection, Error, ErrorKind, Result, Schema, Secret, SecretSource};

/// Stands for a secret in a document that is shown.
pub(crate) const MASK: &str = "***";

/// A document without its secrets, and each secret with its JSON pointer.
pub(crate) struct MaskedDocument {
    pub(crate) document: Value,
    #[cfg_attr(not(feature = "sqlite"), expect(dead_code, reason = "the store in memory keeps whole documents"))]
    pub(crate) secrets: Vec<(String, Secret)>,
}

/// Takes the secrets out of a connection's document. The schema of its settings says what they are.
pub(crate) fn mask(connection: &Connection, settings: &Schema) -> Result<MaskedDocument> {
    let mut document = connection.document();
    let mut secrets = Vec::new();
    for pointer in settings.secrets(&document) {
        let Some(value) = document.pointer_mut(&pointer) else { continue };
        match value {
            Value::String(text) if text == MASK => {
                return Err(not_a_secret(connection, &pointer, "is the mask that stands for a secret"));
            }
            Value::String(text) => {
                secrets.push((pointer, Secret::from(std::mem::take(text))));
                *value = MASK.into();
            }
            reference if SecretSource::deserialize(&*reference).is_ok() => {}
            _ => {
                return Err(not_a_secret(connection, &pointer, "is neither a text nor a reference to one"));
            }
        }
    }
    Ok(MaskedDocument { document, secrets })
}

fn not_a_secret(connection: &Connection, pointer: &str, why: &str) -> Error {
    let error = Error::new(ErrorKind::Config, format!("{pointer} of connection {} {why}", connection.name));
    error
        .hint("write the secret itself, {\"env\": \"NAME\"} or {\"file\": \"path\"}")
        .with("connection", &connection.name)
        .setting(pointer.to_owned())
}
