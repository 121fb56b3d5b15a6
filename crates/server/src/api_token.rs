//! The API token. It is created at the first start, in a file beside the data directory that only its owner can read.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use trunkline::{environment_variable, token::random};
use trunkline_core::{Error, ErrorKind, Result, Secret};
use trunkline_store::{create_private_file, read_private_file};

/// The token that callers of the API have to send, and where it is stored.
pub struct ApiToken {
    /// The token.
    pub token: Secret,
    /// The file that it is stored in; `None` if it comes from the environment.
    pub file: Option<PathBuf>,
}

/// The minimum length of a token, in characters: 128 bits as hexadecimal digits.
const MIN_LENGTH: usize = 32;

impl ApiToken {
    /// Returns the token in the environment variable `TRUNKLINE_API_TOKEN`, or else in the file `DATA.api-token`, which
    /// is created if it does not exist. The file is beside the data directory, not in it, so that a copy of the data
    /// directory does not contain the token.
    ///
    /// # Errors
    ///
    /// `config` if the token is too short, or if its file cannot be read or can be read by other users.
    pub fn of(data: &Path) -> Result<ApiToken> {
        if let Some(given) = environment_variable("TRUNKLINE_API_TOKEN")? {
            return ApiToken::checked(given.trim(), None);
        }
        let file = data.with_added_extension("api-token");
        if !file.exists() {
            create(&file).map_err(|error| {
                Error::new(ErrorKind::Config, format!("the API token {} cannot be made: {error}", file.display()))
                    .hint("the user that Trunkline runs as must be able to write there")
            })?;
        }
        let text = read_private_file("the API token", &file)?;
        ApiToken::checked(text.trim(), Some(file))
    }

    fn checked(text: &str, file: Option<PathBuf>) -> Result<ApiToken> {
        if text.len() < MIN_LENGTH || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            let message = format!(
                "the API token is shorter than {MIN_LENGTH} characters, or has characters that a header cannot hold"
            );
            return Err(Error::new(ErrorKind::Config, message).hint("`openssl rand -hex 32` makes a token"));
        }
        Ok(ApiToken { token: text.into(), file })
    }
}

/// Creates the token file. If another process does so at the same time, exactly one of them succeeds.
fn create(file: &Path) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    create_private_file(file, random().expose().as_bytes()).map(drop)
}
