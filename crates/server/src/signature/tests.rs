use axum::http::HeaderName;
use serde_json::{Value, json};
use trunkline_flow::{Flow, Trigger};

use super::*;

const NOW: u64 = 1_700_000_000;
const SECRET: &str = "a secret of the sender";
const BODY: &str = r#"{"id":7,"name":"Malmö"}"#;
const LINEAR: &str = r#"{"action":"create","webhookTimestamp":1700000000123}"#;
const URL: &str = "https://flows.example.com/webhooks/hook/00ff?a=b%20c&d=%3A";

/// Reads the settings of a signature, as a flow has them.
fn signature(settings: Value) -> Signature {
    let webhook = json!({ "webhook": { "delivery": "webhook-id", "signature": settings } });
    let flow = json!({ "name": "hook", "trigger": webhook, "steps": [] });
    match Flow::from_value(flow).unwrap().trigger() {
        Some(Trigger::Webhook(webhook)) => webhook.signature.clone().unwrap(),
        other => panic!("{other:?}"),
    }
}

fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
    all.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
}

/// A signature with the headers and the body of a call, at a time, and the saved secret.
struct Case<'a> {
    signature: &'a Signature,
    headers: &'a HeaderMap,
    body: &'a str,
    now: u64,
    secret: &'a str,
}

impl Case<'_> {
    fn check(&self) -> Result<(), &'static str> {
        let delivery = header(self.headers, "webhook-id").unwrap();
        let now = jiff::Timestamp::from_second(self.now.try_into().unwrap()).unwrap().into();
        let (method, body, headers) = (&Method::POST, self.body.as_bytes(), self.headers);
        let call = SignedCall { method, url: URL, headers, delivery, body, now };
        call.check(self.signature, Some(self.secret)).map(drop)
    }
}

/// A sender, and the headers and the body of its call.
type SentCall = (&'static str, &'static [(&'static str, &'static str)], &'static str);

/// Calls of senders, signed as their documentation says, by another implementation. The dates of all are [`NOW`].
const SENDERS: [SentCall; 15] = [
    (
        "bitbucket",
        &[("x-hub-signature", "sha256=180289dea4c6ed5be94fd8f490f83d42a8012eaacecabc012b207689df0b56af")],
        BODY,
    ),
    (
        "box",
        &[
            ("box-signature-primary", "oGl9PLWpN563xlYue+aOyMJsmXoKQdynAVzfsJwAhoA="),
            ("box-signature-secondary", "1CjSkTV+354T1zpBWQ+8emwxr9B/wUkPej8zuLso9dk="),
            ("box-delivery-timestamp", "2023-11-14T14:13:20-08:00"),
        ],
        BODY,
    ),
    (
        "calendly",
        &[(
            "calendly-webhook-signature",
            "t=1700000000,v1=da0ed8b904aab6fb98f5466b5ba0c978b40b9134cd67091f6d2f29\
              8d45843a5b",
        )],
        BODY,
    ),
    ("dropbox", &[("x-dropbox-signature", "180289dea4c6ed5be94fd8f490f83d42a8012eaacecabc012b207689df0b56af")], BODY),
    (
        "hubspot",
        &[
            ("x-hubspot-signature-v3", "VTc+ECbQBXcNYEHDPbbEIXFTGwQ3lanOnlUtjo6K6Fo="),
            ("x-hubspot-request-timestamp", "1700000000456"),
        ],
        BODY,
    ),
    ("intercom", &[("x-hub-signature", "sha1=d5403f60ad3aca7f755c574eb608a29d25dc6e4d")], BODY),
    ("linear", &[("linear-signature", "8aec52b9aad2af56a5d1fe44d5c7a98f71817fd71b8c5f7530280fe896229460")], LINEAR),
    (
        "meta",
        &[("x-hub-signature-256", "sha256=180289dea4c6ed5be94fd8f490f83d42a8012eaacecabc012b207689df0b56af")],
        BODY,
    ),
    (
        "paddle",
        &[(
            "paddle-signature",
            "ts=1700000000;h1=41da0e092cfb23ee1490b5280ee2394d1eb92ae931d64068706a7\
              542326330d1",
        )],
        BODY,
    ),
    ("shopify", &[("x-shopify-hmac-sha256", "GAKJ3qTG7VvpT9j0kPg9QqgBLqrOyrwBKyB2id8LVq8=")], BODY),
    (
        "stripe",
        &[(
            "stripe-signature",
            "t=1700000000,v1=cde8407bd86b2dfda2c244f83f685e3697e60fa9395ba21c0ba76a\
              5faac1a96f,v1=da0ed8b904aab6fb98f5466b5ba0c978b40b9134cd67091f6d2f298d\
              45843a5b,v0=6ffbb59b2300aae63f272406069a9788598b792a944a07aba816edb039\
              989a39",
        )],
        BODY,
    ),
    ("typeform", &[("typeform-signature", "sha256=GAKJ3qTG7VvpT9j0kPg9QqgBLqrOyrwBKyB2id8LVq8=")], BODY),
    ("woocommerce", &[("x-wc-webhook-signature", "GAKJ3qTG7VvpT9j0kPg9QqgBLqrOyrwBKyB2id8LVq8=")], BODY),
    (
        "zendesk",
        &[
            ("x-zendesk-webhook-signature", "RMulxzE0h/pa9GxyPdXkTDk9Dr0qMtRCC6mDKLcbGWs="),
            ("x-zendesk-webhook-signature-timestamp", "2023-11-14T22:13:20Z"),
        ],
        BODY,
    ),
    (
        "zoom",
        &[
            ("x-zm-signature", "v0=5d0402c5b38ed45986a8371d9e0335a4882acb0b3337fc8714f356ad87b71eda"),
            ("x-zm-request-timestamp", "1700000000"),
        ],
        BODY,
    ),
];

/// Senders with an example that they have published, see below.
const PUBLISHED: [&str; 5] = ["github", "slack", "mux", "standard-webhooks", "svix"];

/// Every sender of the schema is tested here, and has a row in the table of the documentation.
#[test]
fn every_sender_is_tested_and_documented() {
    let place = ["trigger", "webhook", "signature", "sender"];
    let sender = place.iter().fold(Flow::schema(), |schema, name| schema["properties"][name].clone());
    let names: Vec<_> = sender["enum"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let tested = SENDERS.iter().map(|(name, ..)| *name).chain(PUBLISHED);
    let tested: std::collections::BTreeSet<_> = tested.collect();
    assert_eq!(names.iter().copied().collect::<std::collections::BTreeSet<_>>(), tested);
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/flows.md")).unwrap();
    for name in names {
        assert!(page.contains(&format!("\n| `{name}` | ")), "docs/flows.md has no row for {name}");
    }
}

/// Senders that sign no time.
const UNTIMED: [&str; 8] = ["bitbucket", "dropbox", "intercom", "meta", "shopify", "typeform", "woocommerce", "github"];

#[test]
fn calls_of_known_senders_are_accepted_and_changed_ones_are_not() {
    for (sender, sent, body) in SENDERS {
        let signature = &signature(json!({ "sender": sender }));
        let valid = || Case { signature, headers: &headers(sent), body, now: NOW, secret: SECRET }.check();
        assert_eq!(valid(), Ok(()), "{sender}");
        let sent = &headers(sent);
        let changed = &body.replace('{', "{ ");
        for (what, headers, body, secret) in [
            ("another body", sent, &**changed, SECRET),
            ("another secret", sent, body, "another secret"),
            ("no signature", &HeaderMap::new(), body, SECRET),
        ] {
            assert!(Case { signature, headers, body, now: NOW, secret }.check().is_err(), "{sender}: {what}");
        }
        let later = Case { signature, headers: sent, body, now: NOW + 601, secret: SECRET }.check();
        assert_eq!(later.is_ok(), UNTIMED.contains(&sender), "{sender}: {later:?}");
    }
}

const SLACK: &str = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&\
                     channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&\
                     response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGl\
                     gcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
const SLACK_SIGNATURE: &str = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";

/// Examples that the vendors have published: documentation of GitHub and Slack, the tests of Mux's libraries, and the
/// example of Standard Webhooks and Svix.
#[test]
fn published_signatures_are_accepted() {
    let standard =
        "v1,bm9ldHUjKzFob2VudXRob2VodWUzMjRvdWVvdW9ldQo= v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= v2,x";
    let (id, key) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let github = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let mux = "t=1565125718,v1=854ece4c22acef7c66b57d4e504153bc512595e8e9c772ece2a68150548c19a7";
    let slack = "8f742231b10e8888abcd99yyyzzz85a5";
    for (sender, sent, body, now, secret) in [
        ("github", vec![("x-hub-signature-256", github)], "Hello, World!", 301, "It's a Secret to Everybody"),
        (
            "slack",
            vec![("x-slack-signature", SLACK_SIGNATURE), ("x-slack-request-timestamp", "1531420618")],
            SLACK,
            1_531_420_618,
            slack,
        ),
        ("mux", vec![("mux-signature", mux)], r#"{"test":"body"}"#, 1_565_125_718, "SuperSecret123"),
        (
            "standard-webhooks",
            vec![("webhook-id", id), ("webhook-timestamp", "1614265330"), ("webhook-signature", standard)],
            r#"{"test": 2432232314}"#,
            1_614_265_330,
            key,
        ),
        (
            "svix",
            vec![("svix-id", id), ("svix-timestamp", "1614265330"), ("svix-signature", standard)],
            r#"{"test": 2432232314}"#,
            1_614_265_330,
            key,
        ),
    ] {
        let (signature, headers) = (&signature(json!({ "sender": sender })), &headers(&sent));
        let of = |body: &str, now, secret: &str| Case { signature, headers, body, now, secret }.check();
        assert_eq!(of(body, now, secret), Ok(()), "{sender}");
        assert!(of(&format!("{body} "), now, secret).is_err(), "{sender}");
        assert!(of(body, now, &format!("{secret}BBBB")).is_err(), "{sender}");
        let is_untimed = UNTIMED.contains(&sender);
        for (now, expected) in [(now + 300, true), (now - 300, true), (now + 301, is_untimed), (now - 301, is_untimed)]
        {
            assert_eq!(of(body, now, secret).is_ok(), expected, "{sender} at {now}");
        }
    }
    // A later timestamp does not help: it is part of what is signed.
    let later = headers(&[("x-slack-signature", SLACK_SIGNATURE), ("x-slack-request-timestamp", "1531430618")]);
    let signature = &signature(json!({ "sender": "slack" }));
    let later = Case { signature, headers: &later, body: SLACK, now: 1_531_430_618, secret: slack }.check();
    assert_eq!(later, Err("the signature does not match"));
}

fn hex(secret: &[u8], body: &str) -> String {
    let mac = <Hmac<Sha256> as KeyInit>::new_from_slice(secret).unwrap();
    HEXLOWER_PERMISSIVE.encode(&mac.chain_update(body).finalize().into_bytes())
}

/// Checks a call of which a part is signed with the key `key`, at the time [`NOW`].
fn check(settings: &Value, sent: &[(&'static str, &str)], body: &str, secret: &str) -> Result<(), &'static str> {
    Case { signature: &signature(settings.clone()), headers: &headers(sent), body, now: NOW, secret }.check()
}

#[test]
fn a_call_without_a_secret_or_a_signature_is_rejected() {
    let plain = json!({ "header": "X-Signature" });
    let with = |value: &str, secret: &str| check(&plain, &[("x-signature", value)], "{}", secret);
    let valid = hex(b"s", "{}");
    assert_eq!(with(&valid, "s"), Ok(()));
    assert_eq!(with(&format!("{} {valid}", hex(b"old", "{}")), "s"), Ok(()), "one of several");
    assert_eq!(with(&hex(b"", "{}"), ""), Err("no secret is saved for this flow"), "an empty secret counts as missing");
    for wrong in ["", "00", "zz", &valid[2..], &valid[..62], &format!("{valid}00"), &valid.replace(&valid[..1], "g")] {
        assert!(with(wrong, "s").is_err(), "{wrong}");
    }
    assert_eq!(check(&plain, &[], "{}", "s"), Err("the signature is missing"));
    let mut twice = headers(&[("x-signature", &valid)]);
    twice.append("x-signature", valid.parse().unwrap());
    let twice = Case { signature: &signature(plain.clone()), headers: &twice, body: "{}", now: NOW, secret: "s" };
    assert!(twice.check().is_err(), "two headers of that name");
    let (now, headers) = (Timestamp::now(), &headers(&[("x-signature", &valid)]));
    let call = SignedCall { method: &Method::POST, url: URL, headers, delivery: None, body: b"{}", now };
    assert!(call.check(&signature(plain), None).is_err());
}

#[test]
fn the_secret_becomes_a_key_and_the_content_is_put_together_as_the_settings_say() {
    let base64 = BASE64.encode(b"key");
    let signed = |text: &str| hex(b"key", text);
    for (form, secret, is_valid) in [
        ("text", "key", true),
        ("base64", &*base64, true),
        ("base64", "whsec_a2V5", true),
        ("hex", "6b6579", true),
        ("hex", "6B6579", true),
        ("base64", "not base64", false),
        ("base64", "whsec_", false),
        ("hex", "6b657", false),
        ("text", "whsec_a2V5", false),
    ] {
        let settings = json!({ "header": "X-S", "key": form });
        let found = check(&settings, &[("x-s", &signed("{}"))], "{}", secret);
        assert_eq!(found.is_ok(), is_valid, "{form} {secret}");
    }
    let around = json!({ "header": "X-S", "signed": "{ {method} {url} {header:X-A} {other} {delivery}{body}" });
    let text = "{ POST https://flows.example.com/webhooks/hook/00ff?a=b%20c&d=: a {other} 7{}";
    let sent = [("x-s", &*signed(text)), ("x-a", "a"), ("webhook-id", "7")];
    assert_eq!(check(&around, &sent, "{}", "key"), Ok(()));
    assert_eq!(check(&around, &sent[..1], "{}", "key"), Err("a signed header is missing"));
    let sha512 = json!({ "header": "X-S", "algorithm": "sha512" });
    let mac = <Hmac<Sha512> as KeyInit>::new_from_slice(b"key").unwrap().chain_update("{}").finalize().into_bytes();
    assert_eq!(check(&sha512, &[("x-s", &HEXLOWER_PERMISSIVE.encode(&mac))], "{}", "key"), Ok(()));
}

#[test]
fn the_time_of_sending_is_read_where_the_settings_say() {
    let signed = |text: &str| hex(b"key", text);
    let timed = json!({ "header": "X-S", "timestamp": "X-T", "signed": "{timestamp}{body}" });
    for (time, is_valid) in [
        ("1700000000", true),
        ("1700000000000", true),
        ("2023-11-14T22:13:20+00:00", true),
        ("2023-11-14T23:13:20+01:00", true),
        ("2023-11-14T22:13:20.123Z", true),
        ("1699999699", false),
        ("1700000301", false),
        ("2023-11-14T22:13:20", false),
        ("yesterday", false),
        ("-1700000000", false),
        ("99999999999999999999", false),
        ("", false),
    ] {
        let sent = [("x-s", &*signed(&format!("{time}{{}}"))), ("x-t", time)];
        assert_eq!(check(&timed, &sent, "{}", "key").is_ok(), is_valid, "{time}");
    }
    let parts = json!({ "sender": "stripe", "tolerance": "10s" });
    let one = signed("1700000000.{}");
    for (value, is_valid) in [
        (format!("t=1700000000,v1={one}"), true),
        (format!("v1={one}, t=1700000000"), true),
        (format!("t=1700000000,v0={one}"), false),
        (format!("v1={one}"), false),
        (format!("t=1700000000,t=1700000001,v1={one}"), false),
        (format!("t=1699999989,v1={}", signed("1699999989.{}")), false),
        (format!("t=1700000000;v1={one}"), false),
    ] {
        assert_eq!(check(&parts, &[("stripe-signature", &value)], "{}", "key").is_ok(), is_valid, "{value}");
    }
    let body = json!({ "header": "X-S", "timestamp": "/sent/at" });
    for (text, is_valid) in [
        (r#"{"sent":{"at":1700000000}}"#, true),
        (r#"{"sent":{"at":"2023-11-14T22:13:20Z"}}"#, true),
        (r#"{"sent":{"at":1600000000}}"#, false),
        (r#"{"sent":{"at":null}}"#, false),
        (r#"{"sent":1700000000}"#, false),
        ("no JSON", false),
    ] {
        assert_eq!(check(&body, &[("x-s", &signed(text))], text, "key").is_ok(), is_valid, "{text}");
    }
}
