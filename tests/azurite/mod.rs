//! Uploads to Azurite, Microsoft's emulator of Azure Blob Storage: our assumptions about the storage hold, and each
//! file arrives byte for byte, whatever happens on the way.
#![allow(clippy::unwrap_used)]

mod proxy;
mod sas;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use proxy::{Fault, Log, Proxy};
use serde_json::json;
use sha2::{Digest, Sha256};
use trunkline_core::{Context, ErrorKind, FileRef, MemoryVault, Result, Secret, VaultSlot};
use trunkline_rest::{Auth, BlockCheckpoint, Client, ClientLimits, Table, Uploaded, address_expired};
use trunkline_testkit::fake::FakeFile;
use trunkline_tests::{
    fact, http,
    peers::{Running, find, peer},
};

/// Returns a reference to a file of this length, with its size if `known_size`, and a context that can open it.
fn source(length: u64, known_size: bool) -> (FileRef, Context) {
    FakeFile::new(length).offered(known_size.then_some(length))
}

/// A secret that must not be sent to the storage.
const CANARY: &str = "canary-5f0e7c";
const KEY_HEADER: &str = "Ocp-Apim-Subscription-Key";

/// The block size of most tests, in bytes.
const MIB: u64 = 1 << 20;

static OPERATIONS: Table = Table::new(
    "shop",
    &[(
        "thing.toml",
        r#"
        [[operation]]
        name  = "thing.get"
        title = "Get a thing"
        route = "GET /things"
        "#,
    )],
);

/// A storage, with a proxy in front of it.
struct Rig {
    azurite: Running,
    proxy: Proxy,
    saved: Arc<Mutex<BlockCheckpoint>>,
}

/// A blob as read back from the storage.
#[derive(Debug, PartialEq)]
struct Stored {
    bytes: u64,
    sha256: String,
    media_type: String,
}

impl Rig {
    /// Starts the storage and the proxy, or returns `None` if Azurite is not installed.
    async fn start() -> Option<Rig> {
        let azurite = peer("azurite-blob")?.start(&["--blobPort", "0", "--silent", "--disableTelemetry"]).await;
        let made = http().put(sas::container(azurite.address())).send().await.unwrap();
        assert_eq!(made.status(), 201, "{}", made.text().await.unwrap());
        let proxy = Proxy::start(azurite.address()).await;
        Some(Rig { azurite, proxy, saved: Arc::default() })
    }

    /// Returns a new client, as a process has it after its start.
    fn client(&self, limits: ClientLimits) -> Client {
        let slot = VaultSlot::new("target", Arc::new(MemoryVault::default()));
        let base = format!("http://{}", self.proxy.address()).parse().unwrap();
        let client =
            Client::builder("Shop", base, &OPERATIONS).private_network(true).auth(Auth::Bearer(CANARY.into()), slot);
        client.header(KEY_HEADER, CANARY.into(), None).limits(limits).build().unwrap()
    }

    /// Returns a signed URL to upload to, through the proxy.
    fn target(&self, blob: &str, expiry: &str) -> Secret {
        sas::blob(&self.proxy.address(), blob, "cw", expiry).into()
    }

    /// Uploads a file with a new client, and continues from the saved progress of the last upload, as another process
    /// does.
    async fn upload(&self, limits: ClientLimits, target: &Secret, (file, cx): &(FileRef, Context)) -> Result<Uploaded> {
        let saved = self.saved.clone();
        let save = move |blocks: BlockCheckpoint| {
            *saved.lock().unwrap() = blocks;
            async { Ok(()) }
        };
        let begun = serde_json::to_string(&*self.saved.lock().unwrap()).unwrap();
        let begun = serde_json::from_str(&begun).unwrap();
        self.client(limits).upload_blocks(target, file, begun, save, cx).await
    }

    /// Reads a blob back from the storage, without the proxy.
    async fn stored(&self, blob: &str) -> Stored {
        let address = sas::blob(self.azurite.address(), blob, "r", sas::GOOD);
        let mut answer = http().get(address).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let media_type = answer.headers()["content-type"].to_str().unwrap().to_owned();
        let (mut hasher, mut bytes) = (Sha256::new(), 0);
        while let Some(piece) = answer.chunk().await.unwrap() {
            hasher.update(&piece);
            bytes += piece.len() as u64;
        }
        Stored { bytes, sha256: hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect(), media_type }
    }

    /// Asserts that the blob is the file of this length and that the upload reported it. Clears the saved progress, so
    /// that the next upload starts from the beginning.
    async fn is_there(&self, blob: &str, length: u64, uploaded: Uploaded) {
        let sha256 = FakeFile::new(length).sha256();
        assert_eq!(uploaded, Uploaded { bytes: length, sha256: sha256.clone() });
        let expected = Stored { bytes: length, sha256, media_type: FakeFile::MEDIA_TYPE.into() };
        assert_eq!(self.stored(blob).await, expected);
        assert_eq!(leaks(&self.proxy.log()), BTreeSet::new());
        *self.saved.lock().unwrap() = BlockCheckpoint::default();
    }
}

/// Returns the limits of a client that does not retry.
fn limits(block: u64) -> ClientLimits {
    ClientLimits { block: block as usize, tries: 1, ..ClientLimits::default() }
}

/// Returns the lines of requests to the storage that hold secrets of the API, each once.
fn leaks(log: &Log) -> BTreeSet<String> {
    assert!(!log.heads.is_empty(), "no request was seen");
    let is_leak = |line: &&str| {
        let line = line.to_ascii_lowercase();
        let name = line.split(':').next().unwrap_or_default();
        name == "authorization" || name == KEY_HEADER.to_ascii_lowercase() || line.contains(CANARY)
    };
    log.heads.iter().flat_map(|head| head.lines().filter(is_leak)).map(str::to_owned).collect()
}

/// Asserts that each byte was acknowledged once: no block that the storage had was sent again, under the same or
/// another id.
#[track_caller]
fn acknowledged_once(log: &Log, length: u64) {
    let ids: BTreeSet<_> = log.acknowledged().map(|block| &block.id).collect();
    assert_eq!(ids.len(), log.acknowledged().count(), "a block was acknowledged twice");
    assert_eq!(log.acknowledged().map(|block| block.received).sum::<u64>(), length);
}

/// After each cut, another client continues from the saved progress, as after a crash.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_that_is_cut_in_every_block_arrives_whole() {
    const LENGTH: u64 = 300_000_000;
    let Some(rig) = Rig::start().await else { return };
    let block = ClientLimits::default().block as u64;
    let blocks = LENGTH.div_ceil(block);
    let (file, target) = (source(LENGTH, true), rig.target("large", sas::GOOD));
    rig.proxy.fault(Fault::CutEveryBlock);
    let mut crashes = 0;
    let uploaded = loop {
        let before = rig.proxy.log();
        match rig.upload(limits(block), &target, &file).await {
            Ok(uploaded) => break uploaded,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}"),
        }
        crashes += 1;
        let log = rig.proxy.log();
        assert_eq!(log.cuts, before.cuts + 1, "the call failed for another reason");
        assert_eq!(rig.saved.lock().unwrap().bytes(), log.acknowledged().map(|block| block.received).sum::<u64>());
        let in_vain = log.blocks[before.blocks.len()..].iter().filter(|one| !one.acknowledged);
        let lost: u64 = in_vain.map(|one| one.received).sum();
        assert!(0 < lost && lost <= block, "{lost} bytes have to be sent again");
        assert!(crashes <= blocks, "more crashes than blocks");
    };
    let log = rig.proxy.log();
    assert_eq!((log.cuts as u64, crashes), (blocks, blocks));
    acknowledged_once(&log, LENGTH);
    assert_eq!(log.blocks.len() as u64, 2 * blocks, "each block was cut once and sent again once");
    assert!(log.received() <= LENGTH + blocks * block);
    rig.is_there("large", LENGTH, uploaded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_files_and_files_around_the_block_size_arrive_whole() {
    let Some(rig) = Rig::start().await else { return };
    for length in [0, 1, MIB - 1, MIB, MIB + 1, 3 * MIB] {
        for known_size in [true, false] {
            let blob = format!("small-{length}-{known_size}");
            let target = rig.target(&blob, sas::GOOD);
            let uploaded = rig.upload(limits(MIB), &target, &source(length, known_size)).await.unwrap();
            rig.is_there(&blob, length, uploaded).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_around_the_limit_of_one_request_arrive_whole() {
    let Some(rig) = Rig::start().await else { return };
    let one_put = ClientLimits::default().one_put;
    assert_eq!(one_put, 64_000_000);
    for length in [one_put, one_put + 1] {
        let blob = format!("middle-{length}");
        let target = rig.target(&blob, sas::GOOD);
        let uploaded = rig.upload(limits(MIB), &target, &source(length, true)).await.unwrap();
        rig.is_there(&blob, length, uploaded).await;
        let blocks = rig.proxy.log().acknowledged().count() as u64;
        assert_eq!(blocks, if length == one_put { 0 } else { length.div_ceil(MIB) });
    }
}

/// The storage itself refuses the requests: from some block on, they are signed with an expiry in the past.
#[tokio::test(flavor = "multi_thread")]
async fn a_signed_url_that_expires_is_replaced_and_no_block_is_sent_twice() {
    const LENGTH: u64 = 5 * MIB + 1;
    // Before the first block, between two, before the last one, before the list.
    for after in [0, 2, 5, 6] {
        let Some(rig) = Rig::start().await else { return };
        let (good, instead) = (sas::query("film", "cw", sas::GOOD), sas::query("film", "cw", sas::EXPIRED));
        rig.proxy.fault(Fault::Signature { after, good, instead });
        // Files of unknown size, since these are uploaded in blocks even if they are small.
        let file = source(LENGTH, false);
        let error = rig.upload(limits(MIB), &rig.target("film", sas::GOOD), &file).await.unwrap_err();
        assert!(address_expired(&error), "after {after}: {error:?}");
        assert_eq!(fact(&error, "status"), Some("403"), "{error:?}");
        assert!(!format!("{error:?}").contains("sig="), "{error:?}");
        assert_eq!(rig.proxy.log().acknowledged().count(), after);
        assert_eq!(rig.saved.lock().unwrap().bytes(), LENGTH.min(after as u64 * MIB));
        let target = rig.target("film", sas::ALSO_GOOD);
        let uploaded = rig.upload(limits(MIB), &target, &file).await.unwrap();
        let log = rig.proxy.log();
        acknowledged_once(&log, LENGTH);
        assert!(log.received() <= LENGTH + MIB, "{} bytes", log.received());
        rig.is_there("film", LENGTH, uploaded).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_storage_never_receives_the_credentials_of_the_api() {
    let Some(rig) = Rig::start().await else { return };
    let target = rig.target("film", sas::GOOD);
    // In one request, and in blocks.
    for length in [10, 3 * MIB] {
        let uploaded = rig.upload(limits(MIB), &target, &source(length, false)).await.unwrap();
        rig.is_there("film", length, uploaded).await;
    }
    // The same client calls the API through the same proxy: now the search finds the credentials.
    let (_, cx) = source(0, true);
    rig.client(limits(MIB)).call("thing.get", json!({}), &cx).await.unwrap_err();
    let found = leaks(&rig.proxy.log());
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().all(|line| line.ends_with(CANARY)), "{found:?}");
}

#[test]
fn the_error_for_a_missing_program_names_the_command_that_installs_it() {
    let why = find("no-such-program").unwrap_err();
    assert!(why.contains("no-such-program") && why.contains("npm ci --prefix tests/peers"), "{why}");
}
