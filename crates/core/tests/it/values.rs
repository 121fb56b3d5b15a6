//! The values that all crates share: times, digests, ids, pointers, names and sign-ins.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{from_value, json, to_value};
use trunkline_core::{
    Algorithm, Digest, ErrorKind, FileRef, RunId, SignIn, SignInState, Timestamp, by_similarity, check_pointer,
    closest, pointer_name, pointer_names, pointer_part,
};

#[test]
fn both_stored_forms_are_read_and_one_is_written() {
    let time = Timestamp::from_millis(1_796_005_740_007);
    assert_eq!(to_value(time).unwrap(), json!("2026-11-30T02:29:00.007Z"));
    for stored in
        [json!("2026-11-30T02:29:00.007Z"), json!("2026-11-30T03:29:00.007+01:00"), json!(1_796_005_740_007_u64)]
    {
        assert_eq!(from_value::<Timestamp>(stored.clone()).unwrap(), time, "{stored}");
    }
    for wrong in [json!("tomorrow"), json!(-1), json!(null), json!(1.5), json!("2026-11-30")] {
        assert!(from_value::<Timestamp>(wrong.clone()).is_err(), "{wrong}");
    }
}

#[test]
fn times_outside_the_range_are_moved_to_its_ends() {
    assert_eq!(from_value::<Timestamp>(json!(u64::MAX)).unwrap(), Timestamp::MAX);
    assert_eq!(Timestamp::MAX + Duration::MAX, Timestamp::MAX);
    let last = to_value(Timestamp::MAX).unwrap();
    assert_eq!(from_value::<Timestamp>(last).unwrap(), Timestamp::MAX);
    assert_eq!(Timestamp::EPOCH.since(Timestamp::MAX), Duration::ZERO);
    assert_eq!(Timestamp::EPOCH - Duration::MAX, Timestamp::EPOCH);
    assert_eq!("1969-12-31T00:00:00Z".parse::<Timestamp>().unwrap(), Timestamp::EPOCH);
}

#[test]
fn malformed_digests_are_rejected() {
    let good = format!("sha-256:{}", "0a".repeat(32));
    assert_eq!(good.parse::<Digest>().unwrap().to_string(), good);
    for bad in ["", "md5", "md5:", "md5:00", "sha-1:00", "md5:+10150983cd24fb0d6963f7d28e17f72", "md5:\u{e9}\u{e9}"] {
        assert_eq!(bad.parse::<Digest>().unwrap_err().kind(), ErrorKind::InvalidInput, "{bad}");
    }
    assert!(serde_json::from_str::<Digest>("\"md5:zz\"").is_err());
    assert_eq!(Digest::new(Algorithm::Sha256, [0; 16]), None);
}

#[test]
fn file_references_of_earlier_versions_have_no_digest() {
    let old = json!({ "name": "a", "size": 3, "connection": "c", "source": {} });
    let file: FileRef = serde_json::from_value(old.clone()).unwrap();
    assert_eq!((file.digest.clone(), json!(file)), (None, old));
}

#[test]
fn run_ids_grow_with_time_and_differ_within_a_millisecond() {
    let at = |offset: i64| Timestamp::from_millis(1_795_000_000_000_u64.saturating_add_signed(offset));
    let ids: BTreeSet<_> = (0..1_000).map(|_| RunId::new(at(0))).collect();
    assert_eq!(ids.len(), 1_000);
    assert!(ids.iter().all(|id| RunId::new(at(-1)) < *id && *id < RunId::new(at(1))));
    assert!(
        ids.iter().all(|id| id.as_str().len() == 15 && id.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric()))
    );
}

#[test]
fn names_are_escaped_and_read_back() {
    // The examples of RFC 6901 section 5, and names that look like escapes.
    for (name, part) in [("", ""), ("a/b", "a~1b"), ("m~n", "m~0n"), ("~1", "~01"), ("~0/", "~00~1"), ("c%d", "c%d")] {
        assert_eq!(pointer_part(name), part);
        assert_eq!(pointer_name(part), name);
    }
    assert_eq!(pointer_names("/a~1b//~01").collect::<Vec<_>>(), ["a/b", "", "~1"]);
    assert_eq!(pointer_names("").count(), 0);
}

#[test]
fn only_json_pointers_are_accepted() {
    for good in ["", "/", "/a/0", "/a~0~1"] {
        assert_eq!(check_pointer(good), Ok(()), "{good}");
    }
    for bad in ["a", "a/b", "/a~", "/a~2", "/~/~"] {
        assert!(check_pointer(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_slip_is_recognised_and_another_word_is_not() {
    let known = ["asset.get", "asset.list", "folder.get"];
    for (name, found) in [("aset.get", Some("asset.get")), ("Asset.Lits", Some("asset.list")), ("run", None)] {
        assert_eq!(closest(name, known.into_iter()), found, "{name}");
    }
    assert_eq!(closest("x", [].into_iter()), None);
}

#[test]
fn the_most_similar_name_is_first() {
    assert_eq!(by_similarity("folder", ["b", "folders", "a"].into_iter()), ["folders", "b", "a"]);
}

#[test]
fn time_changes_the_state_without_a_write() {
    let at = Timestamp::from_millis;
    let signed_in = SignIn { expires_at: Some(at(100)), ..SignIn::default() };
    assert_eq!(signed_in.at(at(99)), SignInState::Ok);
    assert_eq!(signed_in.at(at(100)).as_str(), "reauth_required");
    assert_eq!(SignIn { renewable: true, ..signed_in }.at(at(100)), SignInState::Ok);
    let refreshing = SignIn { state: SignInState::Refreshing { until: at(50) }, ..SignIn::default() };
    assert_eq!((refreshing.at(at(49)).as_str(), refreshing.at(at(50)).as_str()), ("refreshing", "backoff"));
}
