//! The token of the API: made once, in a file beside the data directory that only its owner can read.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use trunkline_core::{Error, ErrorKind, Result, Secret};

/// What callers of the API have to show, and the file it is in.
pub struct ApiToken {
    /// The token.
    pub token: Secret,
    /// Where it is; nothing if it was given in the environment.
    pub file: Option<PathBuf>,
}

/// The shortest token that is taken: 128 bits in hexadecimal digits.
const SHORTEST: usize = 32;

impl ApiToken {
    /// The one in `TRUNKLINE_API_TOKEN`, or else in `DATA.api-token`, which is made if it is not there. It lies beside the data
    /// directory: a copy of that gives nobody the right to call.
    pub fn of(data: &Path) -> Result<ApiToken> {
        if let Some(given) = std::env::var("TRUNKLINE_API_TOKEN").ok().filter(|given| !given.is_empty()) {
            return ApiToken::checked(&given, None);
        }
        let file = data.with_added_extension("api-token");
        let failed = |error: io::Error| {
            Error::new(ErrorKind::Config, format!("the API's token in {} cannot be used: {error}", file.display())).hint(
                "the user that Trunkline runs as must own this file, and be the only one who can read it; delete it to get \
                 another one",
            )
        };
        if !file.exists() {
            make(&file).map_err(failed)?;
        }
        let text = read(&file).map_err(failed)?;
        ApiToken::checked(text.trim(), Some(file))
    }

    fn checked(text: &str, file: Option<PathBuf>) -> Result<ApiToken> {
        if text.len() < SHORTEST || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            let message =
                format!("the API's token has fewer than {SHORTEST} characters, or some that no header can hold");
            return Err(Error::new(ErrorKind::Config, message).hint("`openssl rand -hex 32` makes one"));
        }
        Ok(ApiToken { token: text.into(), file })
    }
}

/// 256 random bits in hexadecimal digits.
pub(crate) fn random() -> Secret {
    let bytes: [u8; 32] = rand::random();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

/// Another process may make it at the same time: whoever links first has made it.
fn make(file: &Path) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let draft = file.with_added_extension(std::process::id().to_string());
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut written = options.open(&draft)?;
    written.write_all(random().expose().as_bytes()).and_then(|()| written.sync_all())?;
    let linked = fs::hard_link(&draft, file);
    fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

fn read(file: &Path) -> io::Result<String> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(file)?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(io::Error::other(format!("others can read it (mode {:o})", mode & 0o777)));
        }
    }
    fs::read_to_string(file)
}
