//! JSON pointers (RFC 6901).

/// Returns a name as it is written in a JSON pointer: `~` as `~0` and `/` as `~1`.
pub fn pointer_part(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// Returns the name that a part of a JSON pointer stands for. It is the inverse of [`pointer_part`].
pub fn pointer_name(part: &str) -> String {
    // In this order: `~01` stands for `~1`.
    part.replace("~1", "/").replace("~0", "~")
}

/// Returns the names in a JSON pointer, from the outermost to the innermost.
pub fn pointer_names(pointer: &str) -> impl Iterator<Item = String> {
    pointer.split('/').skip(1).map(pointer_name)
}

/// Checks that a text is a JSON pointer.
///
/// # Errors
///
/// A message if it is not one.
pub fn check_pointer(pointer: &str) -> Result<(), String> {
    let escapes_fit = pointer.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    if (pointer.is_empty() || pointer.starts_with('/')) && escapes_fit {
        return Ok(());
    }
    Err(format!("`{pointer}` is not a JSON pointer: one is empty or begins with /"))
}
