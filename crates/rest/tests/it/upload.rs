//! Uploads to a storage that loses blocks, refuses requests and loses responses: each byte arrives once, in one file.
#![allow(clippy::unwrap_used)]

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::support::*;
use base64::{Engine, prelude::BASE64_STANDARD};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use trunkline_core::*;
use trunkline_rest::*;
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate, matchers::any};

const BLOCK: u64 = 65_536;

/// A block blob that behaves as in Azure Blob Storage.
#[derive(Clone, Default)]
struct Blob(Arc<State>);

#[derive(Default)]
struct State {
    blocks: Mutex<HashMap<String, Vec<u8>>>,
    file: Mutex<Option<Vec<u8>>>,
    media_type: Mutex<String>,
    received: AtomicU64,
    commits: AtomicU64,
    /// Requests received so far.
    requests: AtomicU64,
    /// The request from which on this signature has expired.
    expires: Mutex<Option<(u64, String)>>,
    /// Status of the responses to these requests, after the request has taken effect.
    lost: Mutex<HashMap<u64, u16>>,
    delay: Mutex<Duration>,
    /// The bytes whose MD5 the storage reports, if it is not that of the bytes that it received.
    arrived: Mutex<Option<Vec<u8>>>,
}

fn md5(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(md5::Md5::digest(bytes))
}

impl Respond for Blob {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let state = &self.0;
        for header in ["authorization", "x-key", "x-mv-api-version"] {
            assert!(!request.headers.contains_key(header), "{header} went to the storage");
        }
        assert!(request.headers.contains_key("x-ms-version"));
        assert_eq!(request.headers["content-length"], request.body.len().to_string().as_str());
        let query: HashMap<String, String> = request.url.query_pairs().into_owned().collect();
        let number = state.requests.fetch_add(1, Ordering::SeqCst);
        state.received.fetch_add(request.body.len() as u64, Ordering::SeqCst);
        if let Some((from, signature)) = &*state.expires.lock().unwrap()
            && number >= *from
            && query["sig"] == *signature
        {
            let code = "<?xml version=\"1.0\"?><Error><Code>AuthenticationFailed</Code></Error>";
            return ResponseTemplate::new(403).set_body_raw(code, "application/xml");
        }
        assert!(request.url.query().unwrap().starts_with("sv=2021&sig=a%2Fb%3D"), "the signature is unchanged");
        let kind =
            || request.headers.get("x-ms-blob-content-type").map_or("", |kind| kind.to_str().unwrap()).to_owned();
        match query.get("comp").map(String::as_str) {
            None => {
                assert_eq!(request.headers["x-ms-blob-type"], "BlockBlob");
                *state.file.lock().unwrap() = Some(request.body.clone());
                *state.media_type.lock().unwrap() = kind();
            }
            Some("block") => {
                BASE64_STANDARD.decode(&query["blockid"]).unwrap();
                let host = request.headers["host"].to_str().unwrap();
                match request.headers.get("content-md5") {
                    Some(sent) => assert_eq!(*sent, md5(&request.body), "the storage can compare"),
                    None => assert!(
                        host.starts_with("127.0.0.1"),
                        "unencrypted blocks that may leave the machine carry their MD5"
                    ),
                }
                state.blocks.lock().unwrap().insert(query["blockid"].clone(), request.body.clone());
            }
            Some("blocklist") => {
                let list = String::from_utf8(request.body.clone()).unwrap();
                let blocks = state.blocks.lock().unwrap();
                let mut file = Vec::new();
                for id in list.split("<Latest>").skip(1).map(|rest| rest.split('<').next().unwrap()) {
                    match blocks.get(id) {
                        Some(block) => file.extend_from_slice(block),
                        None => return ResponseTemplate::new(400).insert_header("x-ms-error-code", "InvalidBlockList"),
                    }
                }
                *state.file.lock().unwrap() = Some(file);
                *state.media_type.lock().unwrap() = kind();
                state.commits.fetch_add(1, Ordering::SeqCst);
            }
            Some(other) => panic!("{other}"),
        }
        let status = state.lost.lock().unwrap().get(&number).copied().unwrap_or(201);
        let reported = state.arrived.lock().unwrap();
        let response = ResponseTemplate::new(status).set_delay(*state.delay.lock().unwrap());
        response.insert_header("content-md5", md5(reported.as_ref().unwrap_or(&request.body)))
    }
}

struct Rig {
    blob: Blob,
    server: MockServer,
    client: Client,
    saved: Arc<Mutex<Vec<BlockCheckpoint>>>,
}

impl Rig {
    async fn new() -> Rig {
        let (blob, server) = (Blob::default(), MockServer::start().await);
        Mock::given(any()).respond_with(blob.clone()).mount(&server).await;
        let vault = Default::default();
        let client = builder(&server.uri())
            .auth(Auth::Bearer("t".into()), slot(&vault))
            .header("x-key", "k".into(), None)
            .limits(ClientLimits { block: BLOCK as usize, one_put: BLOCK, ..quick() })
            .build()
            .unwrap();
        Rig { blob, server, client, saved: Arc::default() }
    }

    fn target(&self, signature: &str) -> Secret {
        format!("{}/container/blob?sv=2021&sig=a%2Fb%3D{signature}", self.server.uri()).into()
    }

    async fn upload(&self, file: &FileRef, begun: BlockCheckpoint, signature: &str, cx: &Context) -> Result<Uploaded> {
        let saved = self.saved.clone();
        let save = move |blocks: BlockCheckpoint| {
            let saved = saved.clone();
            async move {
                saved.lock().unwrap().push(blocks);
                Ok(())
            }
        };
        self.client.upload_blocks(&self.target(signature), file, begun, save, cx).await
    }

    fn last(&self) -> BlockCheckpoint {
        // As another process reads it.
        let last = self.saved.lock().unwrap().last().cloned().unwrap_or_default();
        serde_json::from_str(&serde_json::to_string(&last).unwrap()).unwrap()
    }

    fn arrived(&self, length: u64) {
        assert!(self.blob.0.file.lock().unwrap().as_deref() == Some(&*content(length)), "the file has other bytes");
    }
}

fn hash(length: u64) -> String {
    HEXLOWER.encode(&Sha256::digest(content(length)))
}

#[tokio::test]
async fn files_of_all_sizes_arrive() {
    for length in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 5 * BLOCK + 77] {
        for size in [Some(length), None] {
            let rig = Rig::new().await;
            let (file, cx) = file(length, size);
            let uploaded = rig.upload(&file, BlockCheckpoint::default(), "1", &cx).await.unwrap();
            assert_eq!(uploaded, Uploaded { bytes: length, sha256: hash(length) });
            rig.arrived(length);
            assert_eq!(*rig.blob.0.media_type.lock().unwrap(), "video/mp4");
            let whole = size.is_some() && length <= BLOCK;
            assert_eq!(rig.blob.0.commits.load(Ordering::SeqCst) == 0, whole);
            assert_eq!(rig.saved.lock().unwrap().len() as u64, if whole { 0 } else { length.div_ceil(BLOCK) });
        }
    }
}

/// Blocks to `localhost` carry their MD5, since a name may resolve to another machine.
#[tokio::test]
async fn blocks_without_other_protection_carry_their_md5() {
    let rig = Rig::new().await;
    let base = format!("http://localhost:{}", rig.server.address().port());
    let target = format!("{base}/container/blob?sv=2021&sig=a%2Fb%3D").into();
    let client =
        builder(&base).limits(ClientLimits { block: BLOCK as usize, one_put: BLOCK, ..quick() }).build().unwrap();
    let (file, cx) = file(3 * BLOCK + 1, None);
    let save = |_| async { Ok(()) };
    client.upload_blocks(&target, &file, BlockCheckpoint::default(), save, &cx).await.unwrap();
    rig.arrived(3 * BLOCK + 1);
    let received = rig.server.received_requests().await.unwrap();
    assert_eq!(received.iter().filter(|request| request.headers.contains_key("content-md5")).count(), 4);
}

#[tokio::test]
async fn a_failure_of_any_request_costs_one_block_at_most() {
    let length = 6 * BLOCK + 5;
    for status in [500, 503, 429, 408] {
        for at in 0..8 {
            let rig = Rig::new().await;
            rig.blob.0.lost.lock().unwrap().insert(at, status);
            let (file, cx) = file(length, Some(length));
            rig.upload(&file, BlockCheckpoint::default(), "1", &cx).await.unwrap();
            rig.arrived(length);
            assert!(rig.blob.0.received.load(Ordering::SeqCst) <= length + BLOCK + 2000);
        }
    }
}

#[tokio::test]
async fn a_new_url_continues_where_the_old_one_expired() {
    let length = 6 * BLOCK + 5;
    for at in 0..8 {
        let rig = Rig::new().await;
        *rig.blob.0.expires.lock().unwrap() = Some((at, "a/b=1".into()));
        let (file, cx) = file(length, Some(length));
        let error = rig.upload(&file, BlockCheckpoint::default(), "1", &cx).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Auth && address_expired(&error), "{error:?}");
        assert!(!format!("{error:?}").contains("sig="), "{error:?}");
        let uploaded = rig.upload(&file, rig.last(), "2", &cx).await.unwrap();
        assert_eq!(uploaded, Uploaded { bytes: length, sha256: hash(length) });
        rig.arrived(length);
        assert!(rig.blob.0.received.load(Ordering::SeqCst) <= length + BLOCK + 2000, "at {at}");
    }
}

#[tokio::test]
async fn a_crash_costs_one_block() {
    let length = 30 * BLOCK + 5;
    let rig = Rig::new().await;
    *rig.blob.0.delay.lock().unwrap() = Duration::from_millis(40);
    let (file, cx) = file(length, Some(length));
    for milliseconds in [30, 90, 130, 170] {
        let begun = rig.last();
        let upload = rig.upload(&file, begun, "1", &cx);
        assert!(tokio::time::timeout(Duration::from_millis(milliseconds), upload).await.is_err(), "too fast");
    }
    assert!(rig.last().bytes() > 0 && rig.last().bytes() < length);
    let uploaded = rig.upload(&file, rig.last(), "1", &cx).await.unwrap();
    assert_eq!(uploaded, Uploaded { bytes: length, sha256: hash(length) });
    rig.arrived(length);
    let twice = rig.blob.0.received.load(Ordering::SeqCst) - length;
    assert!(twice <= 4 * BLOCK + 5000, "at most one block per crash, but {twice} bytes were sent twice");
}

#[tokio::test]
async fn a_lost_commit_is_committed_again() {
    let length = 3 * BLOCK;
    let rig = Rig::new().await;
    rig.blob.0.lost.lock().unwrap().insert(3, 500);
    let (file, cx) = file(length, Some(length));
    rig.upload(&file, BlockCheckpoint::default(), "1", &cx).await.unwrap();
    assert_eq!(rig.blob.0.commits.load(Ordering::SeqCst), 2);
    rig.arrived(length);
    // After a crash behind the last block, only the list is sent.
    let before = rig.blob.0.requests.load(Ordering::SeqCst);
    let again = rig.upload(&file, rig.last(), "1", &cx).await.unwrap();
    assert_eq!((again.bytes, rig.blob.0.requests.load(Ordering::SeqCst)), (length, before + 1));
}

#[tokio::test]
async fn blocks_that_the_storage_has_removed_are_sent_again() {
    let length = 4 * BLOCK;
    let rig = Rig::new().await;
    *rig.blob.0.expires.lock().unwrap() = Some((2, "a/b=1".into()));
    let (file, cx) = file(length, Some(length));
    rig.upload(&file, BlockCheckpoint::default(), "1", &cx).await.unwrap_err();
    rig.blob.0.blocks.lock().unwrap().clear();
    rig.upload(&file, rig.last(), "2", &cx).await.unwrap();
    rig.arrived(length);
}

#[tokio::test]
async fn blocks_of_another_blob_are_not_mixed_in() {
    let (file, cx) = file(3 * BLOCK, None);
    let (one, other) = (Rig::new().await, Rig::new().await);
    one.upload(&file, BlockCheckpoint::default(), "1", &cx).await.unwrap();
    other.upload(&file, one.last(), "1", &cx).await.unwrap();
    other.arrived(3 * BLOCK);
}

#[tokio::test]
async fn a_source_of_another_size_does_not_become_visible() {
    for length in [100, 3 * BLOCK] {
        let rig = Rig::new().await;
        let (mut file, cx) = file(length, None);
        file.size = Some(length + 1);
        let error = rig.upload(&file, BlockCheckpoint::default(), "1", &cx).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(rig.blob.0.file.lock().unwrap().is_none());
    }
}

#[tokio::test]
async fn a_small_file_is_sent_again_after_a_lost_response_and_a_wrong_digest_is_noticed() {
    let rig = Rig::new().await;
    rig.blob.0.lost.lock().unwrap().insert(0, 500);
    let (file, cx) = file(BLOCK, Some(BLOCK));
    let uploaded = rig.upload(&file, BlockCheckpoint::default(), "1", &cx).await.unwrap();
    assert_eq!(uploaded, Uploaded { bytes: BLOCK, sha256: hash(BLOCK) }, "the digest is that of one attempt");
    rig.arrived(BLOCK);
    *rig.blob.0.arrived.lock().unwrap() = Some(b"something else".to_vec());
    let error = rig.upload(&file, BlockCheckpoint::default(), "1", &cx).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(error.message().contains("other bytes"), "{error:?}");
}

#[tokio::test]
async fn an_upload_can_be_cancelled() {
    let rig = Rig::new().await;
    *rig.blob.0.delay.lock().unwrap() = Duration::from_millis(100);
    let (file, cx) = file(20 * BLOCK, None);
    let token = CancellationToken::new();
    let cx = cx.with_cancellation(token.clone());
    let stop = async {
        tokio::time::sleep(Duration::from_millis(250)).await;
        token.cancel();
    };
    let (result, ()) = tokio::join!(rig.upload(&file, BlockCheckpoint::default(), "1", &cx), stop);
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Cancelled);
    assert!(rig.blob.0.requests.load(Ordering::SeqCst) < 8);
}

#[tokio::test]
async fn progress_counts_acknowledged_bytes() {
    struct Count(AtomicU64);
    #[async_trait]
    impl Recorder for Count {
        async fn checkpoint(&self, _: serde_json::Value) -> Result<()> {
            Ok(())
        }
        fn progress(&self, progress: ByteProgress) {
            self.0.fetch_add(progress.bytes, Ordering::SeqCst);
        }
        fn warning(&self, message: &str) {
            panic!("{message}");
        }
    }
    for length in [10, 3 * BLOCK + 1] {
        let rig = Rig::new().await;
        let (file, cx) = file(length, None);
        let count = Arc::new(Count(AtomicU64::new(0)));
        rig.upload(&file, BlockCheckpoint::default(), "1", &cx.with_recorder(count.clone(), None)).await.unwrap();
        assert_eq!(count.0.load(Ordering::SeqCst), length);
    }
}

#[tokio::test]
async fn urls_without_https_are_refused() {
    let client = client("http://127.0.0.1:1");
    let (file, cx) = file(10, None);
    for (bad, kind) in [
        ("http://storage.example.com/x?sig=s", ErrorKind::Config),
        ("https://u:p@storage.example.com/x?sig=s", ErrorKind::Config),
        ("junk", ErrorKind::Unexpected),
    ] {
        let save = |_| async { Ok(()) };
        let error = client.upload_blocks(&bad.into(), &file, BlockCheckpoint::default(), save, &cx).await.unwrap_err();
        assert_eq!(error.kind(), kind);
        assert!(!format!("{error:?}").contains("sig="));
    }
}

/// Error responses of the storage to a block and to the list, and their meaning.
#[tokio::test]
async fn each_error_of_the_storage_has_its_kind() {
    use ErrorKind::*;
    // Status, code, kind, whether the request is retried, whether a new URL helps.
    for (status, code, kind, retried, expired) in [
        (400, "", InvalidInput, false, false),
        (400, "InvalidBlockList", Conflict, false, false),
        (400, "InvalidBlockId", Conflict, false, false),
        (400, "InvalidBlobOrBlock", Conflict, false, false),
        (400, "Md5Mismatch", Unavailable, true, false),
        (400, "InvalidInput", InvalidInput, false, false),
        (401, "NoAuthenticationInformation", Auth, false, true),
        (403, "AuthenticationFailed", Auth, false, true),
        (403, "AuthorizationFailure", Auth, false, true),
        (403, "", Auth, false, true),
        (404, "ContainerNotFound", NotFound, false, false),
        (409, "LeaseIdMissing", Conflict, false, false),
        (412, "ConditionNotMet", Conflict, false, false),
        (413, "RequestBodyTooLarge", Limit, false, false),
        (429, "", RateLimited, true, false),
        (500, "InternalError", Unavailable, true, false),
        (503, "ServerBusy", RateLimited, true, false),
    ] {
        for at in ["block", "blocklist"] {
            let server = MockServer::start().await;
            let response = match code {
                "" => ResponseTemplate::new(status),
                code => ResponseTemplate::new(status).insert_header("x-ms-error-code", code),
            };
            Mock::given(wiremock::matchers::query_param("comp", at)).respond_with(response).mount(&server).await;
            Mock::given(any()).respond_with(ResponseTemplate::new(201)).mount(&server).await;
            let limits =
                ClientLimits { block: BLOCK as usize, tries: 3, first_wait: Duration::from_millis(1), ..quick() };
            let client = builder(&server.uri()).limits(limits).build().unwrap();
            let (file, cx) = file(2 * BLOCK, None);
            let target = format!("{}/container/blob?sig=s", server.uri()).into();
            let save = |_| async { Ok(()) };
            let error = client.upload_blocks(&target, &file, BlockCheckpoint::default(), save, &cx).await.unwrap_err();
            let case = format!("{status} {code} to a {at}: {error:?}");
            assert_eq!((error.kind(), address_expired(&error)), (kind, expired), "{case}");
            assert!(error.advice().is_some() && error.message().contains(code), "{case}");
            assert_eq!(error.retryable() != Retry::Never, retried, "{case}");
            let query = |request: &Request| request.url.query().unwrap_or_default().to_owned();
            let received = server.received_requests().await.unwrap();
            let tries = received
                .iter()
                .filter(|request| {
                    query(request).ends_with(&format!("comp={at}")) || query(request).contains(&format!("comp={at}&"))
                })
                .count();
            assert_eq!(tries, if retried { 3 } else { 1 }, "{case}");
        }
    }
}
