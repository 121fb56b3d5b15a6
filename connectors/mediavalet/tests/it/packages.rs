//! `asset.package`: one zip per item, with the bytes of all assets.

use super::*;

async fn packages(bench: &Bench) -> Vec<Value> {
    bench.call("mediavalet", "download.list", json!({})).await["data"].as_array().unwrap().clone()
}

/// Returns the files of an uncompressed zip, by its local headers.
fn unzip(mut zip: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    while let Some(rest) = zip.strip_prefix(b"PK\x03\x04") {
        let number = |at: usize, length: usize| rest[at..at + length].iter().rev().fold(0, |n, b| n << 8 | *b as usize);
        let (size, name) = (number(14, 4), number(22, 2));
        let name = String::from_utf8(rest[26..26 + name].to_vec()).unwrap();
        let bytes = &rest[26 + name.len()..][..size];
        zip = &rest[26 + name.len() + size..];
        files.push((name, bytes.to_vec()));
    }
    assert!(zip.starts_with(b"PK\x01\x02"), "a directory follows");
    files
}

#[tokio::test]
async fn the_zip_has_every_asset_byte_for_byte() {
    let bench = Bench::new(3).await;
    let mut assets = Vec::new();
    let mut expected = Vec::new();
    for number in 0..3 {
        assets.push(bench.upload(number).await.0);
        let file = bench.file(number).await;
        expected.push((file["name"].as_str().unwrap().to_owned(), bench.bytes(&file, 0).await));
    }
    let input = json!({ "assetIds": assets, "zipFileName": "Spring & more" });
    let output = bench.call("mediavalet", "asset.package", input).await;
    assert_eq!((&output["itemCount"], &output["file"]["name"]), (&json!(3), &json!("Spring & more.zip")));
    assert!(!output.to_string().contains("sig="), "a reference holds no signed URL: {output}");
    let zip = bench.bytes(&output["file"], 0).await;
    assert!(unzip(&zip) == expected);
    assert!(bench.bytes(&output["file"], 5000).await == zip[5000..], "opened again from a byte");
    assert!(bench.sandbox.report().faults.is_empty(), "no key goes to the storage");
}

#[tokio::test]
async fn a_package_that_is_not_ready_is_polled_until_the_timeout() {
    let processing = std::time::Duration::from_secs(3);
    let bench = Bench::with(Options { files: 1, max_size: 2000, processing, ..Options::default() }).await;
    let (asset, _) = bench.uploaded().await;
    let input = |seconds: u64| json!({ "assetIds": [asset], "seconds": seconds });
    let step = Arc::<FakeStep>::default();
    let error = bench.attempt(&step, "asset.package", &input(1)).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    let output = bench.attempt(&step, "asset.package", &input(60)).await.unwrap().unwrap();
    assert_eq!(packages(&bench).await.len(), 1, "the same package");
    assert_eq!(packages(&bench).await[0]["id"], output["downloadId"]);
}

#[tokio::test]
async fn a_crash_at_any_checkpoint_creates_no_second_package() {
    let bench = Bench::quick(1).await;
    let (asset, _) = bench.uploaded().await;
    let input = json!({ "assetIds": [asset], "zipFileName": "One.zip" });
    for after in 1..=2 {
        let step = Arc::new(FakeStep::crashing_after(after));
        assert!(bench.attempt(&step, "asset.package", &input).await.is_none());
        bench.resume(&step, "asset.package", &input).await.unwrap();
        assert_eq!(packages(&bench).await.len(), after, "crashed after checkpoint {after}");
    }
}

#[tokio::test]
async fn lost_responses_create_no_second_package() {
    let bench = Bench::quick(1).await;
    let (asset, _) = bench.uploaded().await;
    for every in 2..=6 {
        let before = packages(&bench).await.len();
        let input = json!({ "assetIds": [asset], "zipFileName": "The same name" });
        let output = bench.with_losses(every, "asset.package", &input).await;
        let now = packages(&bench).await;
        assert_eq!(now.len(), before + 1, "every {every}. response lost");
        assert!(now.iter().any(|one| one["id"] == output["downloadId"]));
    }
}

#[tokio::test]
async fn a_missing_asset_is_an_error() {
    let bench = Bench::quick(1).await;
    let input = json!({ "assetIds": ["6f9619ff-8b86-4011-b42d-00cf4fc964ff"] });
    let error = bench.try_call("mediavalet", "asset.package", input).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
}
