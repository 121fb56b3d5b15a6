//! Calls of webhooks that an attacker repeats: for each combination of settings, either no second run starts, or the
//! check of the flow has warned of that.

use std::time::SystemTime;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::header::{HeaderMap, HeaderName};
use serde_json::{Value, json};
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use trunkline::{SaveOptions, core::Secret};
use trunkline_flow::{Encoding, Flow, Signature, SignatureAlgorithm, SigningKeyForm, TimestampPlace, Trigger};
use trunkline_tests::Cli;

use super::Serve;

const SECRET: &str = "c2VjcmV0IG9mIHRoZSBzZW5kZXI=";
const SENDERS: [&str; 20] = [
    "bitbucket",
    "box",
    "calendly",
    "dropbox",
    "github",
    "hubspot",
    "intercom",
    "linear",
    "meta",
    "mux",
    "paddle",
    "shopify",
    "slack",
    "standard-webhooks",
    "stripe",
    "svix",
    "typeform",
    "woocommerce",
    "zendesk",
    "zoom",
];
/// Places of the id of a delivery: none, a header, a member of the body, and the body.
const DELIVERIES: [Option<&str>; 4] = [None, Some("x-id"), Some("/id"), Some("{body}")];

/// Returns the webhooks of all combinations: each known sender, and a sender of its own with and without a signed time and
/// a signed id, with each place of the id.
fn combinations() -> Vec<Value> {
    let own = ["{body}", "{timestamp}.{body}", "{delivery}.{body}", "{header:X-Id}.{body}", "{header:x-other}.{body}"];
    let own = own.into_iter().map(|signed| match signed.contains("{timestamp}") {
        true => json!({ "header": "x-signature", "signed": signed, "timestamp": "x-time" }),
        false => json!({ "header": "x-signature", "signed": signed }),
    });
    let known = SENDERS.into_iter().map(|sender| json!({ "sender": sender }));
    let in_body = json!({ "header": "x-signature", "timestamp": "/webhookTimestamp" });
    let signatures: Vec<_> = known.chain(own).chain([in_body]).collect();
    let with = |signature: &Value, delivery: Option<&str>| match delivery {
        Some(delivery) => json!({ "signature": signature, "delivery": delivery }),
        None => json!({ "signature": signature }),
    };
    let mut all: Vec<_> = signatures.iter().flat_map(|one| DELIVERIES.map(|delivery| with(one, delivery))).collect();
    // `{delivery}` needs a header.
    all.retain(|one| {
        one["delivery"] == "x-id" || !one["signature"]["signed"].as_str().is_some_and(|it| it.contains("{delivery}"))
    });
    all.extend(DELIVERIES.iter().flatten().map(|delivery| json!({ "delivery": delivery })));
    all.push(json!({}));
    all
}

/// A call as its sender makes it.
struct Call {
    headers: HeaderMap,
    body: String,
}

fn mac(algorithm: SignatureAlgorithm, key: &[u8], signed: &[u8]) -> Vec<u8> {
    fn of<M: Mac + KeyInit>(key: &[u8], signed: &[u8]) -> Vec<u8> {
        <M as KeyInit>::new_from_slice(key).unwrap().chain_update(signed).finalize().into_bytes().to_vec()
    }
    match algorithm {
        SignatureAlgorithm::Sha256 => of::<Hmac<Sha256>>(key, signed),
        SignatureAlgorithm::Sha1 => of::<Hmac<Sha1>>(key, signed),
        SignatureAlgorithm::Sha512 => of::<Hmac<Sha512>>(key, signed),
    }
}

/// Makes a call that is signed as the settings say.
fn call(signature: Option<&Signature>, url: &str) -> Call {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let body = json!({ "id": "event-1", "webhookTimestamp": now }).to_string();
    let mut headers = HeaderMap::new();
    let mut set = |name: &str, value: &str| {
        headers.insert(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
    };
    set("content-type", "application/json");
    for name in ["x-id", "x-other", "webhook-id", "svix-id"] {
        set(name, "delivery-1");
    }
    if let Some(signature) = signature {
        let mut signed = signature.signed.clone();
        for (place, value) in
            [("{timestamp}", &*now.to_string()), ("{url}", url), ("{method}", "POST"), ("{body}", &body)]
        {
            signed = signed.replace(place, value);
        }
        for place in ["{delivery}", "{header:X-Id}", "{header:x-other}", "{header:webhook-id}", "{header:svix-id}"] {
            signed = signed.replace(place, "delivery-1");
        }
        let key = match signature.key {
            SigningKeyForm::Base64 => BASE64_STANDARD.decode(SECRET).unwrap(),
            _ => SECRET.as_bytes().to_vec(),
        };
        let mac = mac(signature.algorithm, &key, signed.as_bytes());
        let text = match signature.encoding {
            Encoding::Hex => HEXLOWER.encode(&mac),
            Encoding::Base64 => BASE64_STANDARD.encode(&mac),
        };
        let mut value = format!("{}{text}", signature.prefix);
        match &signature.timestamp {
            Some(TimestampPlace::Header(name)) => set(name, &now.to_string()),
            Some(TimestampPlace::Part(prefix)) => {
                value = format!("{prefix}{now}{}{value}", signature.separator.unwrap_or(' '));
            }
            _ => {}
        }
        set(&signature.headers[0], &value);
    }
    Call { headers, body }
}

/// Returns what an attacker that has seen a call can send: the call itself, and the call with other headers and another
/// query, as far as they are not signed.
fn replays(call: &Call) -> Vec<(&'static str, HeaderMap, &'static str)> {
    let changed = |names: &[&'static str], value: Option<&str>| {
        let mut headers = call.headers.clone();
        for name in names {
            match value {
                Some(value) => drop(headers.insert(*name, value.parse().unwrap())),
                None => drop(headers.remove(*name)),
            }
        }
        headers
    };
    vec![
        ("the same call", call.headers.clone(), ""),
        ("another id", changed(&["x-id"], Some("delivery-2")), ""),
        ("no id", changed(&["x-id"], None), ""),
        ("another header", changed(&["x-other"], Some("2")), ""),
        ("another query", changed(&["x-id"], Some("delivery-3")), "?attempt=2"),
        (
            "a CloudEvent in headers",
            {
                let mut headers = changed(&["ce-source", "ce-id"], Some("delivery-4"));
                headers.insert("ce-specversion", "1.0".parse().unwrap());
                headers
            },
            "",
        ),
    ]
}

#[tokio::test]
async fn a_repeated_call_starts_no_run_or_the_check_has_warned_of_it() {
    let (cli, mut saved) = (Cli::default(), Vec::new());
    {
        let runtime = cli.runtime();
        for (number, webhook) in combinations().into_iter().enumerate() {
            let name = format!("hook-{number}");
            let document =
                json!({ "name": name, "overlap": "parallel", "steps": [], "trigger": { "webhook": webhook } });
            let flow = Flow::from_value(document).unwrap();
            let found = runtime.check_flow(&flow, &Default::default()).await.unwrap();
            let has_warned = found.iter().any(|one| one.pointer.starts_with("/trigger/webhook"));
            let Some(Trigger::Webhook(trigger)) = flow.trigger() else { unreachable!() };
            let signature = trigger.signature.clone();
            let inactive = SaveOptions { active: Some(false), ..SaveOptions::default() };
            runtime.save_flow(&flow, inactive).await.unwrap();
            if signature.is_some() {
                runtime.flows().set_webhook_secret(&name, Some(&Secret::from(SECRET.to_owned()))).await.unwrap();
            }
            runtime.activate_flow(&name, true).await.unwrap();
            let path = runtime.new_webhook_address(&name).await.unwrap().expose().to_owned();
            saved.push((name, webhook, signature, path, has_warned));
        }
    }
    let serve = Serve::start(&cli).await;
    let (mut safe, mut warned) = (0, 0);
    for (name, webhook, signature, path, has_warned) in saved {
        let url = serve.url(&path);
        let call = call(signature.as_ref(), &url);
        let send = async |headers: HeaderMap, query: &str| {
            let response =
                serve.http.post(format!("{url}{query}")).headers(headers).body(call.body.clone()).send().await;
            let response = response.unwrap();
            let status = response.status().as_u16();
            let body: Value = response.json().await.unwrap();
            // A repeated delivery has the id of the earlier run.
            (status, body["run"].is_string() && body["again"].is_null(), body)
        };
        let (status, is_run, body) = send(call.headers.clone(), "").await;
        assert_eq!((status, is_run), (202, true), "{name} {webhook}: {body}");
        let mut repeated = Vec::new();
        for (what, headers, query) in replays(&call) {
            if send(headers, query).await.1 {
                repeated.push(what);
            }
        }
        // An unsigned call with the body as its id is not repeated as it is, but it can be changed and sent again.
        let is_open = !repeated.is_empty() || signature.is_none();
        assert_eq!(is_open, has_warned, "{webhook}: repeated by {repeated:?}");
        safe += usize::from(!is_open);
        warned += usize::from(is_open);
    }
    // The twin is in the combinations without protection: there, the same calls do start runs again.
    assert!(safe > 70 && warned > 15, "{safe} safe, {warned} warned");
}

/// A call that has not to be signed cannot take the place of a signed one.
#[tokio::test]
async fn an_unsigned_call_with_the_id_of_a_delivery_does_not_keep_the_delivery_from_its_run() {
    let cli = Cli::default();
    let webhook = json!({ "methods": ["GET", "POST"], "delivery": "X-Id", "signature": { "sender": "meta" } });
    let flow = json!({ "name": "hook", "overlap": "parallel", "steps": [], "trigger": { "webhook": webhook } });
    let added = super::add(&cli, &flow, &["--inactive"]).await.expect(0).json();
    cli.pipe(&["flow", "secret", "hook", "-"], SECRET).await.expect(0);
    cli.run(&["flow", "activate", "hook"]).await.expect(0);
    let serve = Serve::start(&cli).await;
    let url = serve.url(added["webhook"].as_str().unwrap());
    let unsigned = async || serve.http.get(&url).header("x-id", "delivery-1").send().await.unwrap().status().as_u16();
    assert_eq!(unsigned().await, 202);
    let flow = Flow::from_value(flow).unwrap();
    let Some(Trigger::Webhook(webhook)) = flow.trigger() else { unreachable!() };
    let call = call(webhook.signature.as_ref(), &url);
    let send = || serve.http.post(&url).headers(call.headers.clone()).body(call.body.clone()).send();
    let first: Value = send().await.unwrap().json().await.unwrap();
    assert!(first["run"].is_string() && first["again"].is_null(), "{first}");
    // The twin: the id of a signed call counts.
    let again: Value = send().await.unwrap().json().await.unwrap();
    assert_eq!((&again["run"], &again["again"]), (&first["run"], &json!(true)));
}
