//! A stated digest is compared with all bytes, from the first to the last.

use std::sync::Arc;

use serde_json::json;
use trunkline_core::ErrorKind;

use trunkline_testkit::fake::FakeStep;

use super::{BLOCK, Origin, Rig};

/// In one request and in blocks, with a digest from the server and from the file reference.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_another_digest_is_not_made_visible_and_both_are_named() {
    for length in [50_000, 2 * BLOCK + 1] {
        for by_server in [true, false] {
            let rig = Rig::new(Origin { length, ..Origin::default() }).await;
            let origin = rig.server.origin.lock().unwrap().clone();
            let (right, wrong) = (origin.sha256(1), origin.sha256(2));
            let mut file = rig.unknown();
            if length < BLOCK {
                file["size"] = length.into();
            }
            if by_server {
                rig.server.change(|origin| origin.declares = Some(2));
            } else {
                file["digest"] = format!("sha-256:{wrong}").into();
            }
            let step = Arc::<FakeStep>::default();
            let error = rig.attempt(&step, &file).await.unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Conflict, "{error:?}");
            assert!(error.message().contains(&right) && error.message().contains(&wrong), "{error:?}");
            assert!(error.advice().unwrap().contains("run the item again"), "{error:?}");
            assert_eq!((rig.visible("film.mp4").len(), rig.sandbox.report().uploaded), (0, 0));

            // With the right digest, the same step succeeds and returns the digest.
            rig.server.change(|origin| origin.declares = by_server.then_some(1));
            if !by_server {
                file["digest"] = format!("sha-256:{right}").into();
            }
            let made = rig.attempt(&step, &file).await.unwrap().unwrap();
            assert_eq!((&made["sha256"], &made["bytes"]), (&json!(right), &json!(length)));
            assert_eq!(rig.visible("film.mp4"), [right]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_digest_of_the_server_is_in_the_reference_and_survives_a_crash() {
    let rig = Rig::new(Origin { length: 3 * BLOCK, declares: Some(1), ..Origin::default() }).await;
    let file = rig.reference("film.mp4").await;
    let right = rig.server.origin.lock().unwrap().sha256(1);
    assert_eq!(file["digest"], format!("sha-256:{right}"));
    // The server states the digest at first only; it is still compared with all bytes.
    rig.server.change(|origin| origin.declares = Some(2));
    let step = Arc::new(FakeStep::crashing_after(2));
    assert!(rig.attempt(&step, &rig.unknown()).await.is_none());
    rig.server.change(|origin| origin.declares = None);
    let error = rig.attempt(&step, &rig.unknown()).await.unwrap().unwrap_err();
    assert_eq!((error.kind(), rig.sandbox.report().uploaded), (ErrorKind::Conflict, 0), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_to_any_path_is_checked_and_returns_its_digest() {
    use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

    let target = MockServer::start().await;
    Mock::given(any()).respond_with(ResponseTemplate::new(201)).mount(&target).await;
    for form in [None, Some("upload")] {
        let rig = Rig::new(Origin { length: 50_000, ..Origin::default() }).await;
        let origin = rig.server.origin.lock().unwrap().clone();
        let mut settings = rig.server.settings("target");
        settings["endpointUrl"] = target.uri().into();
        let connection = trunkline_core::Connection::from_value(settings).unwrap();
        let registry = trunkline_core::Registry::discover().unwrap();
        let to =
            registry.connect(&connection, Arc::<trunkline_core::MemoryVault>::default(), &|_| unreachable!()).unwrap();
        let cx = trunkline_core::Context::new(
            "key",
            "target",
            trunkline_core::Connections::from_iter([to.clone(), rig.server.connect("origin")]),
        );
        for (version, good) in [(2, false), (1, true)] {
            let before = target.received_requests().await.unwrap().len();
            let mut file = rig.unknown();
            file["digest"] = format!("sha-256:{}", origin.sha256(version)).into();
            let mut input = json!({ "path": "/in", "file": file });
            if let Some(field) = form {
                input["formField"] = field.into();
            }
            match to.run("upload", input, &cx).await {
                Ok(sent) => {
                    assert!(good);
                    assert_eq!((&sent["sha256"], &sent["bytes"]), (&json!(origin.sha256(1)), &json!(50_000)));
                }
                Err(error) => assert!(!good && error.kind() == ErrorKind::Conflict, "{error:?}"),
            }
            let arrived = target.received_requests().await.unwrap().len() - before;
            assert_eq!(arrived, usize::from(good), "an incomplete request does not count");
        }
    }
}
