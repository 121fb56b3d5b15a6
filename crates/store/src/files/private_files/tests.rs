use std::os::unix::fs::{PermissionsExt, chown, symlink};

use super::*;

fn read(path: &Path) -> Result<String> {
    read_private_file("the token", path).map(|text| text.as_str().to_owned())
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_private_file_is_complete_or_absent_and_never_replaced() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("token");
    assert!(create_private_file(&path, b"first").unwrap());
    assert!(!create_private_file(&path, b"second").unwrap());
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1, "no draft is left");
    assert_eq!((read(&path).unwrap(), mode(&path)), ("first".into(), 0o600));
    // The sabotage twin: a file that others can read is found.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(read(&path).unwrap_err().advice().unwrap().contains("chmod 600"));
    write_private_file(&path, b"third").unwrap();
    assert_eq!((read(&path).unwrap(), mode(&path)), ("third".into(), 0o600));
}

/// Every way in which a file is opened for writing, on a planted link.
#[test]
fn no_write_follows_a_planted_link() {
    let home = tempfile::tempdir().unwrap();
    let (planted, victim) = (home.path().join("planted"), home.path().join("victim"));
    fs::write(&victim, "precious").unwrap();
    let plant = || {
        let _ = fs::remove_file(&planted);
        symlink(&victim, &planted).unwrap();
    };
    plant();
    assert!(private_file().open(&planted).is_err());
    assert!(private_file().create(true).truncate(true).open(&planted).is_err());
    assert!(private_file().create_new(true).open(&planted).is_err());
    assert!(!create_private_file(&planted, b"token").unwrap());
    write_private_file(&planted, b"ours").unwrap();
    assert!(!planted.is_symlink() && fs::read_to_string(&planted).unwrap() == "ours");
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    // The sabotage twin: an ordinary write follows the link.
    plant();
    fs::write(&planted, "token").unwrap();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "token");
}

#[test]
fn a_directory_that_others_could_write_to_is_made_private() {
    let home = tempfile::tempdir().unwrap();
    for before in [0o777, 0o775, 0o755, 0o701] {
        fs::set_permissions(home.path(), fs::Permissions::from_mode(before)).unwrap();
        make_private(home.path()).unwrap();
        assert_eq!(mode(home.path()), 0o700, "{before:o}");
    }
    make_private(&home.path().join("missing")).unwrap();
}

/// Only root can make a file of another user, so elsewhere only the twin runs.
#[test]
fn a_file_or_link_of_another_user_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let (file, link) = (home.path().join("file"), home.path().join("link"));
    assert!(create_private_file(&file, b"content").unwrap());
    symlink(&file, &link).unwrap();
    // The sabotage twin: the same file and link, of this user.
    assert_eq!((read(&file).unwrap(), read(&link).unwrap()), ("content".into(), "content".into()));
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    std::os::unix::fs::lchown(&link, Some(12_345), None).unwrap();
    for refused in [read(&link).map(drop), make_private(&link)] {
        let error = refused.unwrap_err();
        assert!(error.kind() == ErrorKind::Config && error.message().contains("symbolic link"), "{error:?}");
    }
    chown(&file, Some(12_345), None).unwrap();
    for refused in [read(&file).map(drop), make_private(&file)] {
        let error = refused.unwrap_err();
        assert!(error.kind() == ErrorKind::Config && error.message().contains("12345"), "{error:?}");
    }
}

#[test]
fn a_link_to_nothing_and_a_pipe_are_named() {
    let home = tempfile::tempdir().unwrap();
    let (link, pipe) = (home.path().join("link"), home.path().join("pipe"));
    symlink(home.path().join("gone"), &link).unwrap();
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for refused in [read(&link).map(drop), make_private(&link)] {
        let error = refused.unwrap_err();
        assert!(error.kind() == ErrorKind::Config && error.message().contains("is a symbolic link to"), "{error:?}");
        assert!(error.message().contains("/gone, which cannot be opened"), "{error:?}");
    }
    // Neither waits for another program. The twin is `a_plain_read_of_a_pipe_waits` of the crate `trunkline-rest`.
    let error = read(&pipe).unwrap_err();
    assert!(error.kind() == ErrorKind::Config && error.message().contains("it is not a file"), "{error:?}");
    assert!(private_file().open(&pipe).is_err());
}
