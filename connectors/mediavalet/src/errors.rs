//! Errors that MediaValet reports in a way of its own.

use trunkline_core::{Error, ErrorKind};
use trunkline_rest::Response;

/// Returns the error of a response, if it is one that only MediaValet sends: the gateway's status 401 for a wrong
/// subscription key, which does not mean the token, and errors in a response with the status 200.
pub(crate) fn classify(response: &Response) -> Option<Error> {
    let operation = &response.operation;
    if response.status == 401 && response.text().to_lowercase().contains("subscription key") {
        return Some(
            Error::new(ErrorKind::Config, format!("{operation}: MediaValet's gateway rejected the subscription key"))
                .setting("/subscriptionKey")
                .hint(
                    "copy the key of your subscription from the developer portal; MediaValet support has to approve it",
                ),
        );
    }
    let errors = response.body.as_ref()?.get("errors")?.as_array().filter(|errors| !errors.is_empty())?;
    (response.status < 300).then(|| {
        let errors: Vec<_> =
            errors.iter().map(|error| error.as_str().map_or_else(|| error.to_string(), str::to_owned)).collect();
        let message = format!("{operation}: MediaValet accepted the call but reports: {}", errors.join("; "));
        Error::new(ErrorKind::InvalidInput, message)
            .hint("parts of the call may have taken effect: check the result before you send it again")
    })
}
