//! A sandbox with a small client for tokens, calls and uploads.

use reqwest::{Method, Response, StatusCode, redirect};
use serde_json::{Value, json};
use trunkline_sandbox::{Options, Sandbox};

/// A sandbox with an HTTP client that follows no redirects and keeps no connections.
pub struct Bench {
    pub sandbox: Sandbox,
    pub http: reqwest::Client,
}

pub fn small() -> Options {
    Options { files: 40, max_size: 200_000, processing: std::time::Duration::ZERO, ..Options::default() }
}

pub fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().redirect(redirect::Policy::none()).pool_max_idle_per_host(0).build().unwrap()
}

impl Bench {
    pub async fn new(options: Options) -> Bench {
        Bench { sandbox: Sandbox::start(options).await.unwrap(), http: client() }
    }

    pub fn base(&self) -> String {
        format!("http://{}", self.sandbox.address())
    }

    /// Sends a form to a token endpoint and returns status and body.
    pub async fn token(&self, url: &str, form: &[(&str, &str)]) -> (StatusCode, Value) {
        let response = self.http.post(url).form(form).send().await.unwrap();
        let status = response.status();
        (status, response.json().await.unwrap_or_default())
    }

    /// Sends a form with MediaValet's client credentials to its token endpoint.
    pub async fn valet_token(&self, form: &[(&str, &str)]) -> (StatusCode, Value) {
        let credentials = self.sandbox.credentials().mediavalet;
        let mut all =
            vec![("client_id", credentials.client_id.as_str()), ("client_secret", credentials.client_secret.as_str())];
        all.extend_from_slice(form);
        self.token(&self.sandbox.endpoints().mediavalet.token_url, &all).await
    }

    pub async fn flow_bearer(&self) -> String {
        let credentials = self.sandbox.credentials().mediaflow;
        let form = [
            ("grant_type", "refresh_token"),
            ("client_id", &credentials.client_id),
            ("client_secret", &credentials.client_secret),
            ("refresh_token", &credentials.refresh_token),
        ];
        let (status, body) = self.token(&self.sandbox.endpoints().mediaflow.token_url, &form).await;
        assert_eq!(status, 200, "{body}");
        body["access_token"].as_str().unwrap().to_owned()
    }

    pub async fn valet_bearer(&self) -> String {
        let credentials = self.sandbox.credentials().mediavalet;
        self.valet_user(&credentials.username, &credentials.password).await["access_token"].as_str().unwrap().to_owned()
    }

    pub async fn valet_user(&self, user: &str, password: &str) -> Value {
        let scope = "openid api offline_access";
        let form = [("grant_type", "password"), ("username", user), ("password", password), ("scope", scope)];
        let (status, body) = self.valet_token(&form).await;
        assert_eq!(status, 200, "{body}");
        body
    }

    /// Sends a GET request to the Mediaflow API.
    pub async fn flow(&self, bearer: &str, path: &str) -> Response {
        let url = format!("{}{path}", self.sandbox.endpoints().mediaflow.endpoint_url);
        self.http.get(url).bearer_auth(bearer).send().await.unwrap()
    }

    pub async fn flow_json(&self, bearer: &str, path: &str) -> Value {
        let response = self.flow(bearer, path).await;
        assert_eq!(response.status(), 200, "{path}");
        response.json().await.unwrap()
    }

    /// Sends a request to version 1.2 of the MediaValet API and returns status and body.
    pub async fn valet(&self, bearer: &str, method: Method, path: &str, body: Value) -> (u16, Value) {
        let url = format!("{}{path}", self.sandbox.endpoints().mediavalet.endpoint_url);
        let mut request = self
            .http
            .request(method, url)
            .bearer_auth(bearer)
            .header("Ocp-Apim-Subscription-Key", self.sandbox.credentials().mediavalet.subscription_key)
            .header("x-mv-api-version", "1.2");
        if !body.is_null() {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap_or_default())
    }

    /// Starts an upload and returns its id and URL.
    pub async fn open_upload(&self, bearer: &str, filename: &str) -> (String, String) {
        let (status, body) = self.valet(bearer, Method::POST, "/uploads", json!({ "filename": filename })).await;
        assert_eq!(status, 201, "{body}");
        let text = |name: &str| body["payload"][name].as_str().unwrap().to_owned();
        (text("id"), text("uploadUrl"))
    }

    pub async fn put_blob(&self, url: &str, bytes: Vec<u8>) -> Response {
        self.http.put(url).header("x-ms-blob-type", "BlockBlob").body(bytes).send().await.unwrap()
    }

    /// Sets size and category, finalises the upload, and returns the status of the last step.
    pub async fn finish_upload(&self, bearer: &str, id: &str, size: usize) -> u16 {
        let facts = json!({ "fileSizeInBytes": size });
        assert_eq!(self.valet(bearer, Method::PUT, &format!("/uploads/{id}"), facts).await.0, 200);
        let path = format!("/uploads/{id}/categories");
        assert_eq!(self.valet(bearer, Method::POST, &path, json!([self.sandbox.category()])).await.0, 201);
        self.finalise(bearer, id).await
    }

    pub async fn finalise(&self, bearer: &str, id: &str) -> u16 {
        let patch = json!([{ "op": "replace", "path": "/status", "value": 1 }]);
        self.valet(bearer, Method::PATCH, &format!("/uploads/{id}"), patch).await.0
    }

    pub async fn upload(&self, bearer: &str, filename: &str, bytes: Vec<u8>) -> String {
        let (id, url) = self.open_upload(bearer, filename).await;
        let size = bytes.len();
        assert_eq!(self.put_blob(&url, bytes).await.status(), 201);
        assert_eq!(self.finish_upload(bearer, &id, size).await, 200);
        id
    }

    /// Returns all files of the root folder with the given fields.
    pub async fn files(&self, bearer: &str, fields: &str) -> Vec<Value> {
        let path = format!("/folder/{}/files?fields={fields}", self.sandbox.root_folder());
        self.flow_json(bearer, &path).await.as_array().unwrap().clone()
    }

    /// Returns the bytes of an original.
    pub async fn original(&self, bearer: &str, id: &Value) -> Vec<u8> {
        let rows = self.flow_json(bearer, &format!("/file/{id}/downloads/0")).await;
        let url = rows[0]["downloadURL"].as_str().unwrap();
        self.http.get(url).send().await.unwrap().bytes().await.unwrap().to_vec()
    }
}
