//! The MediaValet gateway, its assets and uploads, and the blob storage.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use trunkline_sandbox::Options;

use crate::support::{Bench, small};

#[tokio::test]
async fn the_gateway_checks_key_token_and_version() {
    let bench = Bench::new(small()).await;
    let bearer = bench.valet_bearer().await;
    let url = format!("{}/users/current", bench.sandbox.endpoints().mediavalet.endpoint_url);
    let key = bench.sandbox.credentials().mediavalet.subscription_key;
    let get = |headers: &[(&str, &str)]| {
        let mut request = bench.http.get(&url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        async move {
            let response = request.send().await.unwrap();
            (response.status().as_u16(), response.text().await.unwrap())
        }
    };
    let token = format!("Bearer {bearer}");
    let (status, text) = get(&[("authorization", &token)]).await;
    assert!(status == 401 && text.contains("missing subscription key"), "{text}");
    let (status, text) = get(&[("authorization", &token), ("ocp-apim-subscription-key", "x")]).await;
    assert!(status == 401 && text.contains("invalid subscription key"), "{text}");
    let (status, text) = get(&[("ocp-apim-subscription-key", &key)]).await;
    assert!(status == 401 && !text.contains("subscription"), "{text}");
    let both = [("authorization", token.as_str()), ("ocp-apim-subscription-key", &key)];
    let (status, text) = get(&both).await;
    let body: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &body["apiVersion"]), (200, &json!("1.0")));
    for name in ["buildVersion", "warnings", "errors", "payload", "recordCount", "meta"] {
        assert!(body.get(name).is_some(), "{name}");
    }
    assert_eq!(get(&[both[0], both[1], ("x-mv-api-version", "9.9")]).await.0, 400);
}

#[tokio::test]
async fn a_viewer_can_read_but_not_write() {
    let bench = Bench::new(small()).await;
    let user = bench.sandbox.credentials().mediavalet;
    let tokens = bench.valet_user(&user.viewer_username, &user.viewer_password).await;
    let bearer = tokens["access_token"].as_str().unwrap();
    assert_eq!(bench.valet(bearer, Method::POST, "/assets/search", json!({ "search": "*" })).await.0, 200);
    let upload = json!({ "filename": "a.jpg" });
    assert_eq!(bench.valet(bearer, Method::POST, "/uploads", upload.clone()).await.0, 403);
    let old = bench
        .http
        .post(format!("{}/uploads", bench.sandbox.endpoints().mediavalet.endpoint_url))
        .bearer_auth(bearer)
        .header("Ocp-Apim-Subscription-Key", &user.subscription_key)
        .json(&upload);
    assert_eq!(old.send().await.unwrap().status(), 401, "before version 1.2, a missing permission is 401");
}

#[tokio::test]
async fn an_upload_in_one_put_becomes_an_approved_asset() {
    let bench = Bench::new(Options { processing: Duration::from_millis(300), ..small() }).await;
    let (flow, valet) = (bench.flow_bearer().await, bench.valet_bearer().await);
    let file = bench.files(&flow, "filename").await.remove(3);
    let filename = file["filename"].as_str().unwrap();
    let bytes = bench.original(&flow, &file["id"]).await;

    let (id, url) = bench.open_upload(&valet, filename).await;
    let (status, placeholder) = bench.valet(&valet, Method::GET, &format!("/assets/{id}"), Value::Null).await;
    assert_eq!((status, &placeholder["payload"]["status"]), (200, &Value::Null));
    assert!(placeholder["payload"]["media"].get("original").is_none());
    assert_eq!(bench.put_blob(&url, bytes.clone()).await.status(), 201);
    assert_eq!(bench.finish_upload(&valet, &id, bytes.len()).await, 200);
    let (_, processing) = bench.valet(&valet, Method::GET, &format!("/assets/{id}"), Value::Null).await;
    assert!(processing["payload"]["status"].is_null() && processing["payload"]["media"].get("original").is_none());
    tokio::time::sleep(Duration::from_millis(350)).await;
    let (_, done) = bench.valet(&valet, Method::GET, &format!("/assets/{id}"), Value::Null).await;
    let asset = &done["payload"];
    assert_eq!((&asset["status"], &asset["file"]["sizeInBytes"]), (&json!(0), &json!(bytes.len())));
    assert_eq!(asset["title"], filename.rsplit_once('.').unwrap().0);
    let original = asset["media"]["original"].as_str().unwrap();
    let back = bench.http.get(original).send().await.unwrap();
    assert_eq!(back.bytes().await.unwrap(), bytes);
    assert_eq!(bench.finalise(&valet, &id).await, 200, "finalising again changes nothing");

    let report = bench.sandbox.report();
    assert_eq!((report.assets, report.uploaded, report.bytes), (1, 1, bytes.len() as u64));
    assert_eq!((report.digest_mismatches, report.duplicates, report.unfinished_uploads), (0, 0, 0));

    let mut damaged = bytes.clone();
    damaged[7] ^= 1;
    let wrong = bench.upload(&valet, filename, damaged).await;
    let report = bench.sandbox.report();
    assert_eq!((report.digest_mismatches, report.duplicates), (1, 1));
    tokio::time::sleep(Duration::from_millis(350)).await;
    let (_, wrong) = bench.valet(&valet, Method::GET, &format!("/assets/{wrong}"), Value::Null).await;
    let missing = bench.http.get(wrong["payload"]["media"]["original"].as_str().unwrap()).send().await.unwrap();
    assert_eq!(missing.status(), 404, "only the bytes of source files can be downloaded");

    let other = bench.upload(&valet, "temporary.bin", bytes).await;
    let rename = json!([{ "op": "replace", "path": "/filename", "value": filename }]);
    assert_eq!(bench.valet(&valet, Method::PATCH, &format!("/assets/{other}"), rename).await.0, 200);
    assert_eq!(bench.sandbox.report().digest_mismatches, 1, "a file that gets its name later is compared by digest");
}

#[tokio::test]
async fn a_blob_has_its_blocks_in_the_order_of_the_block_list() {
    let bench = Bench::new(small()).await;
    let (flow, valet) = (bench.flow_bearer().await, bench.valet_bearer().await);
    let files = bench.files(&flow, "filename,filesize").await;
    let file = files.iter().max_by_key(|file| file["filesize"].as_u64()).unwrap();
    let bytes = bench.original(&flow, &file["id"]).await;
    let (id, url) = bench.open_upload(&valet, file["filename"].as_str().unwrap()).await;
    let block = |id: &str, bytes: &[u8]| {
        let request = bench.http.put(format!("{url}&comp=block&blockid={id}")).body(bytes.to_vec());
        async move { request.send().await.unwrap().status().as_u16() }
    };
    let list = |ids: &[&str]| {
        let rows: String = ids.iter().map(|id| format!("<Latest>{id}</Latest>")).collect();
        let body = format!("<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>{rows}</BlockList>");
        let request = bench.http.put(format!("{url}&comp=blocklist")).body(body);
        async move {
            let response = request.send().await.unwrap();
            (response.status().as_u16(), response.text().await.unwrap())
        }
    };
    let (first, second) = bytes.split_at(bytes.len() / 2);
    assert_eq!(block("AAAB", second).await, 201);
    assert_eq!(block("AAAA", b"wrong").await, 201);
    assert_eq!(block("AAAA", first).await, 201, "a block with the same id replaces the first one");
    assert_eq!(block("AAAAAAA=", first).await, 400, "all ids must have the same length");
    assert_eq!(block("A!", first).await, 400);
    let staged = bench.http.get(format!("{url}&comp=blocklist")).send().await.unwrap().text().await.unwrap();
    assert!(staged.contains(&format!("<Name>AAAB</Name><Size>{}</Size>", second.len())), "{staged}");
    let (status, text) = list(&["AAAA", "AAAC"]).await;
    assert!(status == 400 && text.contains("InvalidBlockList"), "{text}");
    assert_eq!(list(&["AAAA", "AAAB"]).await.0, 201);
    assert_eq!(list(&["AAAA", "AAAB"]).await.0, 201, "the same list can be committed twice");
    assert_eq!(bench.finish_upload(&valet, &id, bytes.len()).await, 200);
    let report = bench.sandbox.report();
    assert_eq!((report.uploaded, report.digest_mismatches), (1, 0));
}

#[tokio::test]
async fn the_blob_storage_rejects_wrong_requests() {
    let bench = Bench::new(small()).await;
    let bearer = bench.valet_bearer().await;
    let (_, url) = bench.open_upload(&bearer, "a.jpg").await;
    let plain = bench.http.put(&url).body("x").send().await.unwrap();
    assert_eq!(plain.status(), 400);
    assert_eq!(plain.text().await.unwrap(), "", "without a blob type, the response is 400 with an empty body");
    let put = || bench.http.put(&url).header("x-ms-blob-type", "BlockBlob").body("x");
    assert_eq!(put().bearer_auth(&bearer).send().await.unwrap().status(), 400);
    assert_eq!(put().header("Ocp-Apim-Subscription-Key", "k").send().await.unwrap().status(), 400);
    assert_eq!(bench.sandbox.report().faults["credential_leak"], 2);
    let chunks = futures::stream::iter([Ok::<_, std::io::Error>("abc")]);
    let stream = put().body(reqwest::Body::wrap_stream(chunks)).send().await.unwrap();
    assert_eq!(stream.status(), 411);
    let large = put().body(vec![0; 64 * 1024 * 1024 + 1]).send().await.unwrap();
    assert_eq!(large.status(), 413);
    for forged in
        [url.replace("sp=rcw", "sp=rcwd"), url.replace("se=20", "se=19"), url.replace("library/", "library/0")]
    {
        let rejected = bench.http.put(forged).header("x-ms-blob-type", "BlockBlob").body("x").send().await.unwrap();
        assert_eq!(rejected.status(), 403);
        assert!(rejected.text().await.unwrap().contains("<Code>AuthenticationFailed</Code>"));
    }
}

#[tokio::test]
async fn finalising_an_upload_checks_its_category_bytes_and_size() {
    let bench = Bench::new(small()).await;
    let bearer = bench.valet_bearer().await;
    let call = |method: Method, path: String, body: Value| {
        let (bench, bearer) = (&bench, &bearer);
        async move { bench.valet(bearer, method, &path, body).await.0 }
    };
    let (id, url) = bench.open_upload(&bearer, "a.jpg").await;
    assert_eq!(bench.finalise(&bearer, &id).await, 400, "no category");
    let categories = format!("/uploads/{id}/categories");
    let unknown = json!(["00000000-0000-4000-8000-000000000000"]);
    assert_eq!(call(Method::POST, categories.clone(), unknown).await, 404);
    assert_eq!(call(Method::POST, categories.clone(), json!(["nonsense"])).await, 400);
    assert_eq!(call(Method::POST, categories, json!([bench.sandbox.category()])).await, 201);
    assert_eq!(bench.finalise(&bearer, &id).await, 404, "no bytes");
    assert_eq!(bench.put_blob(&url, b"abc".to_vec()).await.status(), 201);
    assert_eq!(bench.finalise(&bearer, &id).await, 404, "no size given");
    assert_eq!(call(Method::PUT, format!("/uploads/{id}"), json!({ "fileSizeInBytes": 4 })).await, 200);
    assert_eq!(bench.finalise(&bearer, &id).await, 404, "another size");
    assert_eq!(call(Method::PUT, format!("/uploads/{id}"), json!({ "filename": "a/b.jpg" })).await, 400);
    assert_eq!(bench.finish_upload(&bearer, &id, 3).await, 200);
    assert_eq!(call(Method::POST, "/uploads".into(), json!({ "filename": "b.jpg", "id": id })).await, 409);
    assert_eq!(call(Method::POST, "/uploads".into(), json!({ "filename": "" })).await, 400);

    let version =
        bench.valet(&bearer, Method::POST, &format!("/assets/{id}/uploads"), json!({ "filename": "a.jpg" })).await;
    assert_eq!(version.0, 202);
    let url = version.1["payload"]["uploadUrl"].as_str().unwrap().to_owned();
    assert_eq!(bench.put_blob(&url, b"longer".to_vec()).await.status(), 201);
    assert_eq!(bench.finish_upload(&bearer, &id, 6).await, 200);
    let (_, asset) = bench.valet(&bearer, Method::GET, &format!("/assets/{id}"), Value::Null).await;
    assert_eq!(asset["payload"]["file"]["sizeInBytes"], 6);
    assert_eq!(bench.sandbox.report().assets, 1);
}

#[tokio::test]
async fn search_supports_pages_filters_and_containers() {
    let bench = Bench::new(Options { files: 400, refusals: true, ..small() }).await;
    let bearer = bench.valet_bearer().await;
    let seeded = bench.sandbox.report().preexisting;
    let mut created = Vec::new();
    for (name, bytes) in [("Blue boat 1.jpg", "1"), ("blue car.jpg", "22"), ("IMG_900000.pdf", "333")] {
        created.push(bench.upload(&bearer, name, bytes.as_bytes().to_vec()).await);
    }
    let search = |body: Value| {
        let (bench, bearer) = (&bench, &bearer);
        async move {
            let (status, body) = bench.valet(bearer, Method::POST, "/assets/search", body).await;
            assert_eq!(status, 200, "{body}");
            (body["recordCount"]["totalRecordsFound"].as_u64().unwrap(), body["payload"]["assets"].clone())
        }
    };
    assert_eq!(search(json!({ "search": "*" })).await.0, seeded + 3);
    assert_eq!(search(json!({ "search": "blue", "searchFields": "fileName" })).await.0, 2);
    assert_eq!(search(json!({ "search": "blue NOT car" })).await.0, 1);
    assert_eq!(search(json!({ "search": "boat OR car" })).await.0, 2);
    assert_eq!(search(json!({ "search": "bo" })).await.0, 0);
    assert_eq!(search(json!({ "search": "bo*" })).await.0, 1);
    let exact = json!({ "search": "\"IMG_900000.pdf\"", "searchFields": "fileName,title" });
    assert_eq!(search(exact).await.1[0]["id"], created[2].as_str());
    assert_eq!(search(json!({ "search": "blue", "filters": "AssetType EQ Image AND Status EQ 0" })).await.0, 2);
    assert_eq!(search(json!({ "filters": "(DateUploaded GE 2026-01-01T00:00:00.000Z)" })).await.0, 3);
    let container = format!("(CategoryIds/ANY(c: c EQ '{}'))", bench.sandbox.category());
    assert_eq!(search(json!({ "search": "*", "containerFilter": container })).await.0, seeded + 3);
    let (_, newest) = search(json!({ "search": "*", "sort": "record.createdAt D", "count": 1 })).await;
    assert_eq!((newest.as_array().unwrap().len(), &newest[0]["id"]), (1, &json!(created[2])));

    let mut offset = 0;
    let mut listed = std::collections::HashSet::new();
    loop {
        let path = format!("/assets?COUNT=7&Offset={offset}");
        let (_, body) = bench.valet(&bearer, Method::GET, &path, Value::Null).await;
        let rows = body["payload"]["assets"].as_array().unwrap().clone();
        listed.extend(rows.iter().map(|row| row["id"].to_string()));
        offset += rows.len();
        if rows.len() < 7 {
            break;
        }
    }
    assert_eq!(listed.len() as u64, seeded + 3);

    for body in [
        json!({ "sort": "title A" }),
        json!({ "count": -1 }),
        json!({ "filters": "Colour EQ red" }),
        json!({ "filters": "(Status EQ 0" }),
        json!({ "containerFilter": "(CategoryIds/ANY(c: c EQ 'x'))" }),
        json!({ "searchFields": "nonsense" }),
    ] {
        assert_eq!(bench.valet(&bearer, Method::POST, "/assets/search", body).await.0, 400);
    }
    assert_eq!(bench.valet(&bearer, Method::DELETE, &format!("/assets/{}", created[0]), Value::Null).await.0, 200);
    assert_eq!(search(json!({ "search": "blue" })).await.0, 1);
    assert_eq!(search(json!({ "search": "blue", "includeSoftDeleted": true })).await.0, 2);
}

#[tokio::test]
async fn metadata_categories_and_patches() {
    let bench = Bench::new(small()).await;
    let bearer = bench.valet_bearer().await;
    let id = bench.upload(&bearer, "a.jpg", b"abc".to_vec()).await;
    let call = |method: Method, path: String, body: Value| {
        let (bench, bearer) = (&bench, &bearer);
        async move { bench.valet(bearer, method, &path, body).await }
    };
    let (_, attributes) = call(Method::GET, "/attributes".into(), Value::Null).await;
    let attributes = attributes["payload"].as_array().unwrap().clone();
    let own = attributes.iter().find(|row| row["isSystemProperty"] == false).unwrap()["id"].as_str().unwrap();
    let system = attributes.iter().find(|row| row["isSystemProperty"] == true).unwrap()["id"].as_str().unwrap();
    let patch = json!([
        { "op": "replace", "path": "/title", "value": "New" },
        { "op": "add", "path": format!("/attributes/{own}"), "value": "x" },
        { "op": "replace", "path": format!("/attributes/{system}"), "value": "x" },
        { "op": "explode", "path": "/title", "value": "x" },
        { "op": "replace", "path": "/colour", "value": "x" },
    ]);
    let (status, body) = call(Method::PATCH, format!("/assets/{id}"), patch).await;
    assert_eq!((status, body["errors"].as_array().unwrap().len()), (200, 3));
    assert_eq!((&body["payload"]["title"], &body["payload"]["attributes"][own]), (&json!("New"), &json!("x")));

    let path = format!("/assets/{id}/keywords");
    assert_eq!(call(Method::POST, path.clone(), json!(["sea side", "boat"])).await.0, 202);
    assert_eq!(call(Method::DELETE, format!("{path}/sea%20side"), Value::Null).await.0, 202);
    assert_eq!(call(Method::DELETE, format!("{path}/sea%20side"), Value::Null).await.0, 404);
    assert_eq!(call(Method::GET, path, Value::Null).await.1["payload"][0]["keywordName"], "boat");

    let (_, roots) = call(Method::GET, "/categories/subcategories".into(), Value::Null).await;
    let root = roots["payload"][0]["parentId"].clone();
    let (status, created) =
        call(Method::POST, "/categories".into(), json!({ "treeName": "New", "parentId": root })).await;
    assert_eq!((status, &created["payload"]["tree"]["path"]), (201, &json!("Library\\New")));
    let category = created["payload"]["id"].as_str().unwrap();
    let path = format!("/assets/{id}/categories");
    let unknown = "00000000-0000-4000-8000-000000000000";
    assert_eq!(call(Method::POST, path.clone(), json!([category, unknown])).await.0, 200);
    assert_eq!(call(Method::POST, path.clone(), json!([category])).await.0, 202);
    assert_eq!(call(Method::PUT, path.clone(), json!([category])).await.1["payload"]["categoryIds"], json!([category]));
    let (_, inside) = call(Method::GET, format!("/categories/{category}/assets"), Value::Null).await;
    assert_eq!(inside["payload"]["assetCount"], 1);
    assert_eq!(call(Method::DELETE, format!("/categories/{category}"), Value::Null).await.0, 200);
    assert_eq!(call(Method::GET, path, Value::Null).await.1["recordCount"]["totalRecordsFound"], 0);
    assert_eq!(call(Method::GET, format!("/categories/{category}"), Value::Null).await.0, 404);
    for (path, status) in [("/assets/nonsense", 400), ("/assets/..%2Fusers", 400), ("/nonsense", 404)] {
        assert_eq!(call(Method::GET, path.into(), Value::Null).await.0, status, "{path}");
    }
    assert_eq!(call(Method::DELETE, format!("/assets/{id}?isHardDelete=true"), Value::Null).await.0, 200);
    assert_eq!(call(Method::GET, format!("/assets/{id}?includeSoftDeleted=true"), Value::Null).await.0, 404);
    assert_eq!(bench.sandbox.report().assets, 0);
}
