//! A door for fuzz targets: a delivery of a webhook, as the server reads it. The readers themselves are private.

use axum::{
    body::Bytes,
    http::{HeaderMap, Method},
};
use serde_json::Value;
use trunkline_core::Timestamp;
use trunkline_flow::Signature;

use crate::{delivery, request::header, signature::SignedCall};

/// A call of a webhook, as a sender may have made it.
#[derive(Debug)]
pub struct FuzzedDelivery {
    /// The method.
    pub method: Method,
    /// The URL that was called.
    pub url: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

impl FuzzedDelivery {
    /// Checks the signature with this secret at this time. `id_header` is the header with the id of a delivery.
    ///
    /// # Errors
    ///
    /// The reason why the signature is not valid.
    pub fn check(
        &self,
        signature: &Signature,
        id_header: &str,
        secret: &str,
        now: Timestamp,
    ) -> Result<(), &'static str> {
        let delivery = header(&self.headers, id_header).ok().flatten();
        let (method, url, headers, body) = (&self.method, &*self.url, &self.headers, &self.body);
        SignedCall { method, url, headers, delivery, body, now }.check(signature, Some(secret)).map(drop)
    }

    /// Returns the body, all headers and the query as a run gets them, or null in place of what is refused.
    pub async fn content(&self) -> [Value; 3] {
        let names: Vec<_> = self.headers.keys().map(|name| name.as_str().to_owned()).collect();
        let query = self.url.split_once('?').map_or("", |(_, query)| query);
        [
            delivery::content(&self.headers, &Bytes::from(self.body.clone())).await.unwrap_or_default(),
            delivery::headers(&self.headers, &names),
            delivery::query(query).unwrap_or_default(),
        ]
    }
}
