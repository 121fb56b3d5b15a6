//! JSON pointers (RFC 6901) in rows.

/// Checks that a text is a JSON pointer (RFC 6901); else returns a message.
pub(crate) fn check_pointer(pointer: &str) -> Result<(), String> {
    let escapes_fit = pointer.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    if (pointer.is_empty() || pointer.starts_with('/')) && escapes_fit {
        return Ok(());
    }
    Err(format!("`{pointer}` is not a JSON pointer: one is empty or begins with /"))
}
