//! Files that a user names: flows, inputs, connections, connectors and secrets.
//!
//! The idea: only a regular file is read, and no more of it than its reader takes. Opening a pipe waits until another
//! program writes to it, and a device may have no end.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read},
    path::Path,
};

/// Reads a regular file as text. `most` is the largest size in bytes.
///
/// # Errors
///
/// The error of the system; `FileTooLarge` if the file is larger; and an error that says so if it is a directory, a
/// pipe, a socket or a device, or a symbolic link to a path where nothing is.
///
/// ```
/// let error = trunkline_rest::read_text_file("/dev/null".as_ref(), 10).unwrap_err();
/// assert!(error.to_string().contains("a pipe, a socket or a device"));
/// ```
pub fn read_text_file(path: &Path, most: u64) -> io::Result<String> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use nix::fcntl::OFlag;
        use std::os::unix::fs::OpenOptionsExt;
        // A pipe without a writer is opened at once, and no terminal becomes that of this process.
        options.custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits());
    }
    let file = options.open(path).map_err(|error| explained(path, error))?;
    // What is checked is the open file, so it cannot be exchanged in between.
    let found = file.metadata()?;
    if found.is_dir() {
        return Err(io::Error::other("it is a directory; name the file in it"));
    }
    if !found.is_file() {
        return Err(io::Error::other(NO_FILE));
    }
    let mut text = String::new();
    // One more byte, so that a longer file is noticed, also if it grows.
    match file.take(most + 1).read_to_string(&mut text)? as u64 > most {
        true => Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is longer than {most} bytes"))),
        false => Ok(text),
    }
}

const NO_FILE: &str = "it is a pipe, a socket or a device; name a file, which can be read again";

/// Says that nothing is where a symbolic link leads, or that a socket is there, if that is the reason of an error.
fn explained(path: &Path, error: io::Error) -> io::Error {
    match fs::read_link(path) {
        Ok(target) if error.kind() == io::ErrorKind::NotFound => {
            let why = format!("it is a symbolic link to {}, where there is no file", target.display());
            io::Error::new(error.kind(), why)
        }
        _ if fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir()) => io::Error::other(NO_FILE),
        _ => error,
    }
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::{
        os::unix::{fs::symlink, net::UnixListener},
        sync::mpsc,
        time::Duration,
    };

    use nix::{sys::stat::Mode, unistd::mkfifo};

    use super::*;

    /// Returns a folder with a file, a link to it, and what is not a file.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "a: 1").unwrap();
        symlink(at("file"), at("link")).unwrap();
        mkfifo(&at("pipe"), Mode::S_IRWXU).unwrap();
        symlink(at("pipe"), at("link to the pipe")).unwrap();
        drop(UnixListener::bind(at("socket")).unwrap());
        symlink(at("nothing"), at("dangling")).unwrap();
        fs::create_dir(at("folder")).unwrap();
        folder
    }

    #[test]
    fn only_a_regular_file_is_read_and_nothing_is_waited_for() {
        let folder = folder();
        let read =
            |name: &str, most| read_text_file(&folder.path().join(name), most).map_err(|error| error.to_string());
        assert_eq!((read("file", 4), read("link", 4)), (Ok("a: 1".into()), Ok("a: 1".into())));
        for (name, why) in [
            ("pipe", "it is a pipe"),
            ("link to the pipe", "it is a pipe"),
            ("socket", "a socket"),
            ("folder", "it is a directory"),
            ("dangling", "where there is no file"),
            ("nothing", "No such file"),
            ("/dev/zero", "a device"),
        ] {
            assert!(read(name, 4).unwrap_err().contains(why), "{name}: {:?}", read(name, 4));
        }
        let error = read_text_file(&folder.path().join("file"), 3).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }

    /// The sabotage twin: a plain read of the pipe waits without limit.
    #[test]
    fn a_plain_read_of_a_pipe_waits() {
        let pipe = folder();
        let path = pipe.path().join("pipe");
        let (done, waiting) = mpsc::channel();
        std::thread::spawn(move || done.send(fs::read_to_string(path).is_ok()));
        assert_eq!(waiting.recv_timeout(Duration::from_millis(300)), Err(mpsc::RecvTimeoutError::Timeout));
        // The reader ends with the writer.
        drop(fs::OpenOptions::new().write(true).open(pipe.path().join("pipe")).unwrap());
        assert_eq!(waiting.recv_timeout(Duration::from_secs(10)), Ok(true));
    }
}
