//! Behaviours of a service, and the required reaction of an action, which follows from its effect alone.

use std::{collections::BTreeSet, ops::RangeInclusive, sync::Mutex};

use trunkline_core::{Effect, ErrorKind};

use crate::{
    service::{Reply, answer},
    subject::{ActionOutcome, Subject},
};

/// Actions with another correct reaction: action, behaviour, reason. An exception that is not needed fails the suite.
pub(crate) const EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("download", "an answer cut short", "a later step reads the bytes, and continues after the cut"),
    ("download", "broken JSON", "any bytes can be a file"),
    ("download", "an answer that says it is huge", "a file may be of any size"),
    ("download", "a beginning and nothing more", "a later step reads the bytes"),
    ("asset.wait_until_processed", "a 404", "a new asset may not be visible yet"),
    ("direct_link.export", "an answer cut short", "as for every file"),
    ("direct_link.export", "broken JSON", "as for every file"),
    ("direct_link.export", "an answer that says it is huge", "the same"),
    ("direct_link.export", "a beginning and nothing more", "the same"),
];

/// `Ok`, or a description of what is wrong.
pub(crate) type Verdict = Result<(), String>;

/// A behaviour of a service.
pub(crate) struct Behaviour {
    pub(crate) name: &'static str,
    pub(crate) reply: Reply,
    pub(crate) judge: fn(&ActionOutcome<'_>) -> Verdict,
}

impl Behaviour {
    pub(crate) fn judge(&self, ended: &ActionOutcome<'_>) -> Verdict {
        (self.judge)(ended)
    }
}

/// The findings, and the exceptions that were needed.
#[derive(Default)]
pub(crate) struct Findings {
    wrong: Mutex<Vec<String>>,
    excepted: Mutex<BTreeSet<(&'static str, &'static str)>>,
}

impl Findings {
    /// Records a failed verdict, unless there is an exception for it.
    pub(crate) fn weigh(&self, subject: &Subject, behaviour: &'static str, verdict: Verdict) {
        match EXCEPTIONS.iter().find(|(action, name, _)| *action == subject.spec.name && *name == behaviour) {
            Some((action, name, _)) if verdict.is_err() => drop(self.excepted.lock().unwrap().insert((action, name))),
            _ => self.insist(subject, behaviour, verdict),
        }
    }

    /// Records a failed verdict without exceptions: no action may show a secret, or exceed its deadline.
    pub(crate) fn insist(&self, subject: &Subject, behaviour: &'static str, verdict: Verdict) {
        if let Err(wrong) = verdict {
            self.wrong.lock().unwrap().push(format!("{behaviour}: {} {wrong}", subject.name()));
        }
    }

    /// Fails if there is a finding, or if an exception for these behaviours was not needed.
    #[track_caller]
    pub(crate) fn finish(&self, behaviours: &[&str]) {
        let (wrong, excepted) = (self.wrong.lock().unwrap(), self.excepted.lock().unwrap());
        assert!(wrong.is_empty(), "{} findings:\n{}", wrong.len(), wrong.join("\n"));
        for (action, name, why) in EXCEPTIONS {
            let needed = !behaviours.contains(name) || excepted.contains(&(*action, *name));
            assert!(needed, "the exception is not needed any more: {action} and {name} ({why})");
        }
    }
}

/// Requires an error of one of these kinds.
pub(crate) fn failed(ended: &ActionOutcome<'_>, allowed: &[ErrorKind]) -> Verdict {
    match &ended.result {
        Err(error) if allowed.contains(&error.kind()) && !error.message().is_empty() => Ok(()),
        other => Err(format!("({:?}) ended with {other:?}, not with one of {allowed:?}", ended.effect())),
    }
}

/// Requires success for a delete of something that is gone, and the error for others.
pub(crate) fn gone(ended: &ActionOutcome<'_>) -> Verdict {
    match &ended.result {
        Err(error) if ended.effect() == Effect::Delete => Err(format!("failed: {error:?}")),
        Ok(_) if ended.effect() == Effect::Delete => Ok(()),
        _ => failed(ended, &[ErrorKind::NotFound]),
    }
}

/// Requires this number of requests.
fn requests(ended: &ActionOutcome<'_>, times: RangeInclusive<usize>, why: &str) -> Verdict {
    match ended.requests() {
        right if times.contains(&right) => Ok(()),
        wrong => Err(format!("({:?}) sent {wrong} requests: {why}", ended.effect())),
    }
}

/// Requires the error for a response that exceeds the size limit.
pub(crate) fn too_long(ended: &ActionOutcome<'_>) -> Verdict {
    let kind = match ended.effect() {
        Effect::Create => ErrorKind::UnknownOutcome,
        _ => ErrorKind::Limit,
    };
    failed(ended, &[kind]).and_then(|()| requests(ended, 1..=1, "a second response would be as long"))
}

macro_rules! refusal {
    ($name:literal, $status:literal, $kind:ident, $times:expr, $why:literal) => {
        Behaviour {
            name: $name,
            reply: answer($status, "", "{\"message\":\"no\"}"),
            judge: |ended| failed(ended, &[ErrorKind::$kind]).and_then(|()| requests(ended, $times, $why)),
        }
    };
}

/// A behaviour that leaves open whether the call took effect.
fn unclear(name: &'static str, reply: Reply) -> Behaviour {
    let judge = |ended: &ActionOutcome<'_>| match ended.effect() {
        Effect::Create => failed(ended, &[ErrorKind::UnknownOutcome])
            .and_then(|()| requests(ended, 1..=1, "it must never be repeated blindly")),
        _ => failed(ended, &[ErrorKind::Unavailable]).and_then(|()| requests(ended, 2..=9, "it can be repeated")),
    };
    Behaviour { name, reply, judge }
}

/// A behaviour whose response does not come from such a service.
fn foreign_response(name: &'static str, reply: Reply) -> Behaviour {
    let judge = |ended: &ActionOutcome<'_>| {
        let kinds = [ErrorKind::Unexpected, ErrorKind::UnknownOutcome, ErrorKind::Config, ErrorKind::Unavailable];
        failed(ended, &kinds)
    };
    Behaviour { name, reply, judge }
}

/// Behaviours that respond at once.
pub(crate) fn behaviours() -> Vec<Behaviour> {
    let page = "<html><body>Sign in to the hotel's network</body></html>";
    let html = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{page}",
        page.len()
    );
    let cut = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 5000\r\n\r\n{\"a\":";
    let huge = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 10000000000\r\n\r\n{";
    vec![
        refusal!("a 400", 400, InvalidInput, 1..=1, "a refusal is final"),
        refusal!("a 403", 403, Permission, 1..=2, "a refusal is checked once more where the connection has worked"),
        Behaviour {
            name: "a 404",
            reply: answer(404, "", "{\"message\":\"no\"}"),
            judge: |ended| gone(ended).and_then(|()| requests(ended, 1..=1, "a refusal is final")),
        },
        refusal!("a 409", 409, Conflict, 1..=1, "a refusal is final"),
        unclear("a lost answer", Reply::Whole(Vec::new())),
        unclear("a failure of the service", answer(500, "", "{\"message\":\"boom\"}")),
        unclear("an answer cut short", Reply::Whole(cut.into())),
        foreign_response("another page", Reply::Whole(html.into())),
        foreign_response("broken JSON", answer(200, "", "{\"payload\": [1, 2,")),
        foreign_response("a redirect", answer(302, "location: http://127.0.0.1:9/elsewhere\r\n", "")),
        Behaviour {
            name: "an answer that says it is huge",
            // It is refused by its header, before the body is read.
            reply: Reply::Silence(huge.into()),
            judge: too_long,
        },
        Behaviour {
            name: "a throttle",
            reply: answer(429, "retry-after: 0\r\n", "{}"),
            judge: |ended| {
                failed(ended, &[ErrorKind::RateLimited])
                    .and_then(|()| requests(ended, 2..=9, "a refused call took no effect and is retried"))
            },
        },
        // Last, since the connection may lose its token.
        refusal!("a 401", 401, Auth, 1..=2, "one retry with another token"),
    ]
}

/// Behaviours that never finish a response: the action ends at its deadline.
pub(crate) fn silences() -> Vec<Behaviour> {
    let begun = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n";
    let judge = |ended: &ActionOutcome<'_>| match ended.effect() {
        // On a busy machine the deadline may pass before the request arrives.
        Effect::Create if ended.seen.is_empty() => failed(ended, &[ErrorKind::UnknownOutcome, ErrorKind::Unavailable]),
        Effect::Create => failed(ended, &[ErrorKind::UnknownOutcome])
            .and_then(|()| requests(ended, 1..=1, "it must never be repeated blindly")),
        _ => failed(ended, &[ErrorKind::Unavailable]),
    };
    let all = [("a beginning and nothing more", begun), ("silence", "")];
    all.map(|(name, sent)| Behaviour { name, reply: Reply::Silence(sent.into()), judge }).into()
}
