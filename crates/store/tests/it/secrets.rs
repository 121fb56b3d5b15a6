//! Sealing: with the data directory but without the key, secrets can be neither read nor moved, and the store does not
//! open.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
};

use crate::support::{Home, accepted, connection, events, fact, settings};
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD, Engine};
use data_encoding::{HEXLOWER, HEXUPPER};
use rusqlite::params;
use serde_json::json;
use trunkline_core::{ErrorKind, RunId, Secret, SignIn, Vault};
use trunkline_engine::{EventLog, Flush, RunEvent};
use trunkline_store::{ConnectionStore, KeySource, Store};

const CLIENT_SECRET: &str = "canary-client+secret/Ä\"1";
const PASSWORD: &str = "canary-pass word&2";
const TOKENS: &str = "{\"access\":\"canary-access.3\",\"refresh\":\"canary-refresh.4\"}";
const SAS: &str = "https://blob.test/c/b?sv=2025-01-05&sig=canary%2Fsignature%2B5%3D";
const OPEN: &str = "not-secret-canary/6";

/// Returns all encodings in which a text may be in a file.
fn forms(text: &str) -> Vec<Vec<u8>> {
    let bytes = text.as_bytes();
    let mut forms = vec![bytes.to_vec()];
    let hex: String = HEXLOWER.encode(bytes);
    forms.push(hex.to_uppercase().into());
    forms.push(hex.into());
    let url = |keep: fn(u8) -> bool| -> Vec<u8> {
        let escaped = bytes.iter().map(|&byte| match keep(byte) {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        });
        escaped.collect::<String>().into()
    };
    forms.push(url(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)));
    forms.push(url(|byte| byte.is_ascii_alphanumeric()));
    let json = serde_json::to_string(text).unwrap();
    forms.push(json.trim_matches('"').into());
    let ascii = text.chars().map(|char| match char.is_ascii() {
        true => char.to_string(),
        false => format!("\\u{:04x}", u32::from(char)),
    });
    forms.push(ascii.collect::<String>().into());
    // Base64 of a text inside a longer one: it can start at three offsets, and only its complete groups are searched
    // for.
    for shift in 0..3 {
        let from = (3 - shift) % 3;
        let groups = &bytes[from..from + (bytes.len() - from) / 3 * 3];
        forms.push(BASE64_STANDARD.encode(groups).into());
        forms.push(BASE64_URL_SAFE_NO_PAD.encode(groups).into());
        forms.push(BASE64_STANDARD_NO_PAD.encode(&bytes[from..]).into());
    }
    forms
}

/// Returns how often a text, in any encoding, is in the files of the data directory, including the index of the
/// write-ahead log.
fn hits(home: &Home, text: &str) -> usize {
    let files = fs::read_dir(home.data()).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    let files: Vec<_> = files.map(|path| fs::read(path).unwrap()).collect();
    let forms = forms(text);
    files.iter().map(|file| forms.iter().filter(|form| file.windows(form.len()).any(|at| at == *form)).count()).sum()
}

async fn filled(home: &Home) -> Store {
    let store = home.open().unwrap();
    let mut one = connection("dam", CLIENT_SECRET, PASSWORD);
    one.settings["endpointUrl"] = OPEN.into();
    store.put_connection(&one, &settings()).await.unwrap();
    assert!(store.replace("dam", 0, &Secret::from(TOKENS), &SignIn::default()).await.unwrap());
    let run = accepted(&store, "a1").await;
    for flush in [Flush::Now, Flush::Later] {
        let value = json!({ "url": SAS, "blocks": ["1"] });
        store.append(&run, vec![RunEvent::Checkpoint { step: "files/1/asset".into(), value }], flush).await.unwrap();
    }
    assert_eq!(events(&store, &run).await.len(), 3);
    store
}

#[tokio::test]
async fn no_secret_is_in_any_file() {
    let home = Home::new();
    let store = filled(&home).await;
    let canaries = [CLIENT_SECRET, PASSWORD, TOKENS, "canary-access.3", "canary-refresh.4", SAS, "canary%2Fsignature"];
    // Round 0: open. Round 1: after replacing the connection. Round 2: after removing it.
    for round in 0..3 {
        for canary in canaries {
            assert_eq!(hits(&home, canary), 0, "{canary} in round {round}");
        }
        assert!(hits(&home, OPEN) > 0, "the search finds a value that is not secret");
        match round {
            0 => store.put_connection(&connection("dam", "another", "another"), &settings()).await.unwrap(),
            1 => drop(store.remove_connection("dam", true, None).await),
            _ => {}
        }
    }
    let key = fs::read_to_string(home.key()).unwrap();
    let bytes = BASE64_STANDARD.decode(key.trim()).unwrap();
    drop(store);
    assert_eq!(hits(&home, key.trim()), 0);
    for file in home.bytes().values() {
        assert!(!file.windows(32).any(|at| at == bytes));
    }
}

#[test]
fn the_search_finds_every_encoding() {
    let home = Home::new();
    fs::create_dir_all(home.data()).unwrap();
    for form in forms(CLIENT_SECRET) {
        fs::write(home.data().join("file"), [b"before ", &form[..], b" after"].concat()).unwrap();
        assert!(hits(&home, CLIENT_SECRET) > 0, "{}", String::from_utf8_lossy(&form));
    }
    for before in ["", "a", "ab"] {
        fs::write(home.data().join("file"), BASE64_STANDARD.encode(format!("{before}{CLIENT_SECRET} after"))).unwrap();
        assert!(hits(&home, CLIENT_SECRET) > 0, "{before:?}");
    }
}

#[tokio::test]
async fn a_sealed_value_opens_only_in_its_own_row() {
    let home = Home::new();
    let store = filled(&home).await;
    store.put_connection(&connection("other", "s", "p"), &settings()).await.unwrap();
    assert!(store.replace("other", 0, &Secret::from("others"), &SignIn::default()).await.unwrap());
    let run = accepted(&store, "a2").await;
    let value = json!({ "other": true });
    store.append(&run, vec![RunEvent::Checkpoint { step: "files/2/asset".into(), value }], Flush::Now).await.unwrap();

    let copy = |from: &str, to: &str| {
        let (table, of) = from.split_once(' ').unwrap();
        let (into, at) = to.split_once(' ').unwrap();
        let sql = format!("UPDATE {into} SET sealed = (SELECT sealed FROM {table} WHERE {of}) WHERE {at}");
        assert_eq!(home.sqlite().execute(&sql, []).unwrap(), 1);
    };
    let secret = |name: &str, pointer: &str| format!("secrets connection = '{name}' AND pointer = '{pointer}'");
    let checkpoint = |run: &str, seq: i64| format!("events run = '{run}' AND seq = {seq}");

    // From another connection, from another field, from another table.
    for from in [secret("other", "/clientSecret"), secret("dam", "/flow/password"), "vault connection = 'dam'".into()] {
        copy(&from, &secret("dam", "/clientSecret"));
        assert_eq!(store.connection("dam").await.unwrap_err().kind(), ErrorKind::Store, "{from}");
    }
    assert_eq!(store.masked_connection("dam").await.unwrap()["clientSecret"], "***", "masking needs no decryption");
    copy("vault connection = 'other'", "vault connection = 'dam'");
    assert_eq!(store.load("dam").await.unwrap_err().kind(), ErrorKind::Store);
    copy(&checkpoint("a2", 2), &checkpoint("a1", 2));
    assert_eq!(store.replay(&RunId::from("a1"), &mut |_| ()).await.unwrap_err().kind(), ErrorKind::Store);
    // Unchanged values still open.
    assert_eq!(store.connection("other").await.unwrap().settings["clientSecret"], "s");
    assert_eq!(events(&store, &run).await.len(), 2);
    // A value does not open under another version of the same row either.
    home.sqlite().execute_batch("UPDATE vault SET version = 7 WHERE connection = 'other'").unwrap();
    assert_eq!(store.load("other").await.unwrap_err().kind(), ErrorKind::Store);

    // A whole row under another name, as an attacker could write it.
    home.sqlite()
        .execute_batch(
            "DELETE FROM secrets WHERE connection = 'dam';
             UPDATE secrets SET connection = 'dam' WHERE connection = 'other'",
        )
        .unwrap();
    assert_eq!(store.connection("dam").await.unwrap_err().kind(), ErrorKind::Store);
}

#[tokio::test]
async fn a_flipped_bit_is_detected() {
    let home = Home::new();
    let store = filled(&home).await;
    let good: Vec<u8> = home.sqlite().query_row("SELECT sealed FROM vault", [], |row| row.get(0)).unwrap();
    let put = |bytes: &[u8]| home.sqlite().execute("UPDATE vault SET sealed = ?1", params![bytes]).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        put(&bad);
        assert_eq!(store.load("dam").await.unwrap_err().kind(), ErrorKind::Store, "byte {at}");
    }
    for length in [0, 10, 24, 39, good.len() - 1] {
        put(&good[..length]);
        assert_eq!(store.load("dam").await.unwrap_err().kind(), ErrorKind::Store, "length {length}");
    }
    put(&good);
    assert_eq!(store.load("dam").await.unwrap().unwrap().content.expose(), TOKENS);
    home.sqlite().execute_batch("UPDATE vault SET key_id = '0000000000000000'").unwrap();
    assert_eq!(store.load("dam").await.unwrap_err().kind(), ErrorKind::Config, "an unknown key");
}

#[tokio::test]
async fn without_its_key_a_store_is_not_changed() {
    let home = Home::new();
    // Once with a write-ahead log beside the file, as after a crash, and once without.
    for crashed in [true, false] {
        let store = filled(&home).await;
        if crashed {
            let copy = Home::new();
            fs::create_dir(copy.data()).unwrap();
            for (name, bytes) in home.bytes() {
                fs::write(copy.data().join(name), bytes).unwrap();
            }
            assert!(copy.bytes().len() > 1, "there is a write-ahead log");
            let good = fs::read_to_string(home.key()).unwrap();
            refused(&copy, &good);
        } else {
            drop(store);
            assert_eq!(home.bytes().len(), 1);
            let good = fs::read_to_string(home.key()).unwrap();
            refused(&home, &good);
            return;
        }
        store.remove_connection("dam", true, None).await.unwrap();
        fs::remove_dir_all(home.data()).unwrap();
        fs::remove_file(home.key()).unwrap();
    }
}

fn refused(home: &Home, good: &str) {
    let before = home.bytes();
    let check = |source: KeySource, what: &str| {
        let error = Store::open(&home.data(), source).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{what}: {error:?}");
        assert!(error.advice().is_some(), "{what}");
        assert!(!format!("{error:?}").contains(good.trim()), "{what}");
        assert!(home.bytes() == before, "{what}: the files have changed");
        error
    };
    let _ = fs::remove_file(home.key());
    let error = check(KeySource::File(home.key()), "no key file");
    assert!(error.message().contains("is missing"), "{error:?}");
    assert!(!home.key().exists(), "no new key is created for an existing store");

    fs::create_dir_all(home.key().parent().unwrap()).unwrap();
    let write = |text: &str, mode: u32| {
        fs::write(home.key(), text).unwrap();
        fs::set_permissions(home.key(), fs::Permissions::from_mode(mode)).unwrap();
        KeySource::File(home.key())
    };
    let other = BASE64_STANDARD.encode([7; 32]);
    assert!(check(write(&other, 0o600), "another key").message().contains("was made with the key"));
    for text in ["", "\n", "short", "AAAA", &other[1..], &format!("{other}{other}"), &"0".repeat(63), "\u{1f600}"] {
        check(write(text, 0o600), "a malformed key");
        check(KeySource::Value(text.into()), "a malformed key");
    }
    for mode in [0o640, 0o604, 0o644, 0o660, 0o622] {
        let error = check(write(good, mode), "a key that others may read");
        assert!(error.advice().unwrap().contains("chmod 600"), "{error:?}");
    }
    check(KeySource::Value(other.as_str().into()), "another key");

    // With the right key, in each of its forms, the store opens.
    let hex: String = HEXUPPER.encode(&BASE64_STANDARD.decode(good.trim()).unwrap());
    for source in
        [write(good, 0o400), write(&hex, 0o600), KeySource::Value(good.into()), KeySource::Value(hex.as_str().into())]
    {
        drop(Store::open(&home.data(), source).unwrap());
    }
}

#[test]
fn files_are_readable_for_their_owner_only() {
    let home = Home::new();
    let store = home.open().unwrap();
    let mode = |path: std::path::PathBuf| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(home.data()), 0o700);
    assert_eq!(mode(home.key()), 0o600);
    assert_eq!(mode(home.key().parent().unwrap().into()), 0o700);
    for name in ["trunkline.db", "trunkline.db-wal", "trunkline.db-shm"] {
        assert_eq!(mode(home.data().join(name)), 0o600, "{name}");
    }
    let key = fs::read_to_string(home.key()).unwrap();
    assert!(key.ends_with('\n') && BASE64_STANDARD.decode(key.trim()).unwrap().len() == 32);
    assert_eq!(fs::read_dir(home.key().parent().unwrap()).unwrap().count(), 1, "no draft of the key is left");
    drop(store);
}

#[tokio::test]
async fn files_that_are_not_a_store_are_rejected_and_not_changed() {
    let rejected = |what: &str, write: &dyn Fn(&Home)| {
        let home = Home::new();
        fs::create_dir(home.data()).unwrap();
        write(&home);
        let before = home.bytes();
        let error = home.open().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Store, "{what}: {error:?}");
        assert!(error.advice().is_some() && fact(&error, "file").is_some(), "{what}: {error:?}");
        assert!(home.bytes() == before, "{what}: the file has changed");
        assert!(!home.key().exists(), "{what}: a key was created");
        error
    };
    rejected("a text", &|home| fs::write(home.database(), "a text instead of a database\n".repeat(100)).unwrap());
    rejected("another database", &|home| home.sqlite().execute_batch("CREATE TABLE t (a)").unwrap());
    let ours = |home: &Home| drop(Store::open(&home.data(), KeySource::Value("0".repeat(64).into())).unwrap());
    let error = rejected("a later version", &|home| {
        ours(home);
        home.sqlite().execute_batch("PRAGMA user_version = 99; PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    });
    assert!(error.message().contains("has version 99"), "{error:?}");
    rejected("half a file", &|home| {
        ours(home);
        let bytes = fs::read(home.database()).unwrap();
        fs::write(home.database(), &bytes[..5000]).unwrap();
    });
    rejected("a store without its metadata", &|home| {
        ours(home);
        home.sqlite().execute_batch("DELETE FROM meta; PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    });
}

#[test]
fn an_interrupted_first_start_is_repeated() {
    let home = Home::new();
    fs::create_dir(home.data()).unwrap();
    fs::write(home.database(), "").unwrap();
    drop(home.open().unwrap());
    let home = Home::new();
    fs::create_dir(home.data()).unwrap();
    home.sqlite().pragma_update(None, "journal_mode", "WAL").unwrap();
    drop(home.open().unwrap());
}

/// What another user has planted in a data directory that was open to others: with such a file that user would decide
/// what the store contains, or where it is written.
#[test]
fn nothing_of_another_user_is_opened() {
    let home = Home::new();
    drop(home.open().unwrap());
    let directory = home.data();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().mode() & 0o777;
    for exposed in [0o777, 0o770, 0o755] {
        fs::set_permissions(&directory, fs::Permissions::from_mode(exposed)).unwrap();
        fs::set_permissions(home.database(), fs::Permissions::from_mode(0o666)).unwrap();
        // The sabotage twin of the refusals below: the same files, of this user.
        drop(home.open().unwrap());
        assert_eq!((mode(&directory), mode(&home.database())), (0o700, 0o600), "{exposed:o}");
    }
    if fs::metadata(home.path()).unwrap().uid() != 0 {
        return; // Only root can give a file to another user.
    }
    let names = ["", "trunkline.db", "trunkline.db-wal", "trunkline.db-shm", "trunkline.db-journal"];
    for name in names.into_iter().chain(["runs", "staging", "commits"]) {
        let path = if name.is_empty() { directory.clone() } else { directory.join(name) };
        let made = !path.exists();
        if made {
            fs::write(&path, "").unwrap();
        }
        std::os::unix::fs::chown(&path, Some(12_345), None).unwrap();
        let error = home.open().unwrap_err();
        assert!(error.kind() == ErrorKind::Config && error.message().contains("12345"), "{name}: {error:?}");
        std::os::unix::fs::chown(&path, Some(0), None).unwrap();
        if made {
            fs::remove_file(&path).unwrap();
        }
        drop(home.open().unwrap());
        // A link of another user, to a file of this one.
        let (there, victim) = (home.path().join("moved"), home.path().join("victim"));
        if path.exists() {
            fs::rename(&path, &there).unwrap();
        }
        fs::write(&victim, "").unwrap();
        std::os::unix::fs::symlink(&victim, &path).unwrap();
        std::os::unix::fs::lchown(&path, Some(12_345), None).unwrap();
        let error = home.open().unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Config | ErrorKind::Store), "a link at {name}: {error:?}");
        assert_eq!(fs::read_to_string(&victim).unwrap(), "");
        fs::remove_file(&path).unwrap();
        if there.exists() {
            fs::rename(&there, &path).unwrap();
        }
    }
}
