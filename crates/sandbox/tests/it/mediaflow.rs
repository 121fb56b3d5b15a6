//! The Mediaflow API and its download host.

use std::collections::HashSet;

use serde_json::{Value, json};
use trunkline_sandbox::Options;

use crate::support::{Bench, small};

#[tokio::test]
async fn folders_files_and_field_selection() {
    let bench = Bench::new(small()).await;
    let bearer = bench.flow_bearer().await;
    let tree = bench.flow_json(&bearer, "/foldertree?fields=id,name,depth&private=false&public=true").await;
    assert!(tree.as_array().unwrap().iter().all(|folder| folder["name"] != "My files"));
    assert!(tree[0].get("parent").is_none());
    assert_eq!(bench.flow_json(&bearer, "/folder").await, bench.flow_json(&bearer, "/folders").await);

    let files = bench.files(&bearer, "FileName,%20filesize,unknown").await;
    assert_eq!(files.len(), 40);
    let keys: Vec<&String> = files[0].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["id", "filename", "filesize"]);
    let names: HashSet<&str> = files.iter().map(|file| file["filename"].as_str().unwrap()).collect();
    assert_eq!(names.len(), 40);
    for part in [" ", "#", "%", "ö"] {
        assert!(names.iter().any(|name| name.contains(part)), "no name with {part:?}");
    }
    assert!(files.iter().any(|file| file["id"].as_i64().unwrap() < 0));
    let selection = bench.flow_json(&bearer, "/folders/-1004/files").await;
    let folders = bench.flow_json(&bearer, &format!("/file/{}/folders", selection[0]["id"])).await;
    assert_eq!(folders.as_array().unwrap().len(), 2);
    let videos = bench.flow_json(&bearer, "/folder/1001/files?type=video&fields=any").await;
    assert!(videos.as_array().unwrap().iter().all(|file| file["mediaId"] != ""));
    assert!(videos[0]["customFields"].is_array());

    let page = |page: u64| format!("/file/latest?page={page}&per_page=15&fields=uploaded");
    let mut listed = Vec::new();
    for number in 1..=4 {
        listed.extend(bench.flow_json(&bearer, &page(number)).await.as_array().unwrap().clone());
    }
    assert_eq!(listed.len(), 40);
    assert!(listed.is_sorted_by_key(|file| std::cmp::Reverse(file["uploaded"].as_str().unwrap().to_owned())));

    assert_eq!(bench.flow_json(&bearer, "/file/5").await, json!([]));
    assert_eq!(bench.flow_json(&bearer, "/users/me?fields=activeModules,customerId").await[0]["customerId"], 4711);
    for (path, status) in [("/file/x", 400), ("/nothing", 404), ("/folders/", 400), ("/folder/..%2Ffolders/files", 400)]
    {
        let rejected = bench.flow(&bearer, path).await;
        assert_eq!(rejected.status(), status, "{path}");
        assert_eq!(rejected.json::<Value>().await.unwrap()["status"], status);
    }
}

#[tokio::test]
async fn search_and_usage() {
    let bench = Bench::new(small()).await;
    let bearer = bench.flow_bearer().await;
    let api = bench.sandbox.endpoints().mediaflow.endpoint_url;
    let post = |path: String, body: Value| {
        let request = bench.http.post(format!("{api}{path}")).bearer_auth(&bearer).json(&body);
        async move { request.send().await.unwrap() }
    };
    let found: Value = post("/search/file?fields=filename".into(), json!({ "searchTerm": "000007", "lang": "en-GB" }))
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(found.as_array().unwrap().len(), 1);
    assert_eq!(post("/search/file".into(), json!({ "searchTerm": "x" })).await.status(), 400);
    let id = &found[0]["id"];
    let mut usage = json!({
        "contact": "A", "date": "2026-01-02", "amount": "1", "project": "Site", "types": ["web"], "removed": "false",
        "web": { "page": "https://example.com/p", "pageName": "P" },
    });
    assert_eq!(post(format!("/file/{id}/usage"), usage.clone()).await.status(), 200);
    let read = bench.flow_json(&bearer, &format!("/file/{id}/usage?fields=any")).await;
    assert_eq!(read[0]["url"], "https://example.com/p");
    usage["removed"] = "true".into();
    usage["id"] = json!([id]);
    assert_eq!(post("/files/multiple/usages".into(), usage).await.status(), 200);
    assert_eq!(bench.flow_json(&bearer, &format!("/file/{id}/usage")).await, json!([]));
}

#[tokio::test]
async fn downloads_by_range_without_credentials() {
    let bench = Bench::new(small()).await;
    let bearer = bench.flow_bearer().await;
    let files = bench.files(&bearer, "filesize").await;
    let largest = files.iter().max_by_key(|file| file["filesize"].as_u64()).unwrap();
    let size = largest["filesize"].as_u64().unwrap() as usize;
    assert!(size > 70_000);
    let link = bench.flow_json(&bearer, &format!("/files/{}/downloads/0", largest["id"])).await;
    assert_eq!((link.as_array().unwrap().len(), &link[0]["expiresIn"]), (1, &json!(300)));
    let url = link[0]["downloadURL"].as_str().unwrap();
    let whole = bench.http.get(url).send().await.unwrap();
    let etag = whole.headers()["etag"].to_str().unwrap().to_owned();
    assert_eq!(whole.headers()["content-length"], size.to_string().as_str());
    let whole = whole.bytes().await.unwrap();
    assert_eq!(whole.len(), size);

    let part = |range: &str, tag: &str| {
        let request = bench.http.get(url).header("range", range).header("if-range", tag);
        async move { request.send().await.unwrap() }
    };
    for (range, from, to) in [
        ("bytes=65530-65545", 65530, 65546),
        ("bytes=1-", 1, size),
        ("bytes=-10", size - 10, size),
        ("bytes=0-999999999", 0, size),
    ] {
        let response = part(range, &etag).await;
        assert_eq!(response.status(), 206);
        assert_eq!(response.headers()["content-range"], format!("bytes {from}-{}/{size}", to - 1).as_str());
        assert_eq!(response.bytes().await.unwrap(), whole[from..to], "{range}");
    }
    assert_eq!(part("bytes=5-6", "\"other\"").await.status(), 200);
    let beyond = part(&format!("bytes={size}-"), &etag).await;
    assert_eq!(
        (beyond.status().as_u16(), &beyond.headers()["content-range"]),
        (416, &format!("bytes */{size}").parse().unwrap())
    );

    assert_eq!(bench.http.get(url).bearer_auth(&bearer).send().await.unwrap().status(), 400);
    assert_eq!(bench.sandbox.report().faults["credential_leak"], 1);
    let forged = url.replace("expires=", "expires=9");
    assert_eq!(bench.http.get(forged).send().await.unwrap().status(), 403);
}

#[tokio::test]
async fn the_seed_decides_which_files_must_not_be_downloaded() {
    let options = Options { files: 1000, refusals: true, max_size: 2000, ..small() };
    let bench = Bench::new(options.clone()).await;
    let bearer = bench.flow_bearer().await;
    let files = bench.files(&bearer, "filename,gdprstatus,checksum").await;
    let blocked = files.iter().filter(|file| file["gdprStatus"] != "OK").count();
    let preexisting = bench.sandbox.report().preexisting;
    assert!((20..=60).contains(&blocked) && (35..=85).contains(&preexisting), "{blocked}, {preexisting}");
    let mut denied = 0;
    for file in files.iter().take(120) {
        let id = &file["id"];
        let permission = bench.flow_json(&bearer, &format!("/file/{id}/checkpermissions")).await;
        let status = bench.flow(&bearer, &format!("/file/{id}/downloads/0")).await.status();
        assert_eq!(permission[0]["allowDownload"] == true, status == 200);
        if status == 403 {
            assert!(!permission[0]["allowDownloadReason"].as_str().unwrap().is_empty());
            denied += 1;
        }
    }
    assert!(denied > 0);
    let twin = Bench::new(options).await;
    let bearer = twin.flow_bearer().await;
    assert_eq!(twin.files(&bearer, "filename,gdprstatus,checksum").await, files);
    let id = &files.iter().find(|file| file["gdprStatus"] != "OK").unwrap()["id"];
    let theirs = twin.original(&bearer, id).await;
    let bearer = bench.flow_bearer().await;
    assert_eq!(bench.original(&bearer, id).await, theirs);
}
