//! What a service may do, and what an action has to make of it: that follows from its effect alone.

use std::{collections::BTreeSet, ops::RangeInclusive, sync::Mutex};

use trunkline_core::{Effect, ErrorKind};

use crate::{
    service::{Reply, answer},
    subject::{Ended, Subject},
};

/// Actions that rightly do something else: action, behaviour, why. One that is not needed fails the suite.
pub(crate) const EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("download", "an answer cut short", "the bytes are read by a later step, which mends the cut"),
    ("download", "another page", "a page can be a file"),
    ("download", "broken JSON", "whatever there is can be a file"),
    ("download", "an answer that says it is huge", "a file may be of any size"),
    ("download", "a beginning and nothing more", "the bytes are read by a later step"),
    ("download", "an error inside a 200", "the same"),
    ("asset.wait_until_processed", "a 404", "what was made a moment ago may not be shown yet"),
    ("direct_link.export", "an error inside a 200", "as for every file"),
    ("direct_link.export", "an answer cut short", "as for every file"),
    ("direct_link.export", "another page", "the same"),
    ("direct_link.export", "broken JSON", "the same"),
    ("direct_link.export", "an answer that says it is huge", "the same"),
    ("direct_link.export", "a beginning and nothing more", "the same"),
];

/// What is wrong, if anything.
pub(crate) type Verdict = Result<(), String>;

/// A service's behaviour.
pub(crate) struct Behaviour {
    pub(crate) name: &'static str,
    pub(crate) reply: Reply,
    pub(crate) judge: fn(&Ended<'_>) -> Verdict,
}

impl Behaviour {
    pub(crate) fn judge(&self, ended: &Ended<'_>) -> Verdict {
        match &ended.result {
            Ok(other) => Err(format!("took it for a success: {other}")),
            Err(_) => (self.judge)(ended),
        }
    }
}

/// What was wrong, and the exceptions that were needed.
#[derive(Default)]
pub(crate) struct Findings {
    wrong: Mutex<Vec<String>>,
    excepted: Mutex<BTreeSet<(&'static str, &'static str)>>,
}

impl Findings {
    /// Takes note of a verdict that is bad, unless it is an exception.
    pub(crate) fn weigh(&self, subject: &Subject, behaviour: &'static str, verdict: Verdict) {
        match EXCEPTIONS.iter().find(|(action, name, _)| *action == subject.spec.name && *name == behaviour) {
            Some((action, name, _)) if verdict.is_err() => drop(self.excepted.lock().unwrap().insert((action, name))),
            _ => self.insist(subject, behaviour, verdict),
        }
    }

    /// Takes note of a verdict that is bad, with no exceptions: nobody may show a secret, or go on for ever.
    pub(crate) fn insist(&self, subject: &Subject, behaviour: &'static str, verdict: Verdict) {
        if let Err(wrong) = verdict {
            self.wrong.lock().unwrap().push(format!("{behaviour}: {} {wrong}", subject.name()));
        }
    }

    /// Fails if anything was wrong, or if an exception was not needed for these behaviours.
    #[track_caller]
    pub(crate) fn finish(&self, behaviours: &[&str]) {
        let (wrong, excepted) = (self.wrong.lock().unwrap(), self.excepted.lock().unwrap());
        assert!(wrong.is_empty(), "{} findings:\n{}", wrong.len(), wrong.join("\n"));
        for (action, name, why) in EXCEPTIONS {
            let needed = !behaviours.contains(name) || excepted.contains(&(*action, *name));
            assert!(needed, "this is no exception any more: {action} and {name} ({why})");
        }
    }
}

/// The failure has one of these kinds.
pub(crate) fn failed(ended: &Ended<'_>, allowed: &[ErrorKind]) -> Verdict {
    match &ended.result {
        Err(error) if allowed.contains(&error.kind()) && !error.message().is_empty() => Ok(()),
        other => Err(format!("({:?}) ended with {other:?}, not with one of {allowed:?}", ended.effect())),
    }
}

/// The service was asked this often.
fn asked(ended: &Ended<'_>, times: RangeInclusive<usize>, why: &str) -> Verdict {
    match ended.requests() {
        right if times.contains(&right) => Ok(()),
        wrong => Err(format!("({:?}) asked {wrong} times: {why}", ended.effect())),
    }
}

/// The answer is longer than an answer may be.
pub(crate) fn too_long(ended: &Ended<'_>) -> Verdict {
    let kind = match ended.effect() {
        Effect::Create => ErrorKind::UnknownOutcome,
        _ => ErrorKind::Limit,
    };
    failed(ended, &[kind]).and_then(|()| asked(ended, 1..=1, "it would be as long again"))
}

macro_rules! refusal {
    ($name:literal, $status:literal, $kind:ident, $times:expr, $why:literal) => {
        Behaviour {
            name: $name,
            reply: answer($status, "", "{\"message\":\"no\"}"),
            judge: |ended| failed(ended, &[ErrorKind::$kind]).and_then(|()| asked(ended, $times, $why)),
        }
    };
}

/// Whether the call took effect cannot be told from the answer.
fn unclear(name: &'static str, reply: Reply) -> Behaviour {
    let judge = |ended: &Ended<'_>| match ended.effect() {
        Effect::Create => failed(ended, &[ErrorKind::UnknownOutcome])
            .and_then(|()| asked(ended, 1..=1, "it must never be repeated blindly")),
        _ => failed(ended, &[ErrorKind::Unavailable]).and_then(|()| asked(ended, 2..=9, "it can be repeated")),
    };
    Behaviour { name, reply, judge }
}

/// What comes back is not what a service of this kind says.
fn no_answer(name: &'static str, reply: Reply) -> Behaviour {
    let judge = |ended: &Ended<'_>| {
        let kinds = [ErrorKind::Unexpected, ErrorKind::UnknownOutcome, ErrorKind::Config, ErrorKind::Unavailable];
        failed(ended, &kinds)
    };
    Behaviour { name, reply, judge }
}

/// Answers that come at once.
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
        refusal!("a 403", 403, Permission, 1..=1, "a refusal is final"),
        refusal!("a 404", 404, NotFound, 1..=1, "a refusal is final"),
        refusal!("a 409", 409, Conflict, 1..=1, "a refusal is final"),
        unclear("a lost answer", Reply::Whole(Vec::new())),
        unclear("a failure of the service", answer(500, "", "{\"message\":\"boom\"}")),
        unclear("an answer cut short", Reply::Whole(cut.into())),
        no_answer("another page", Reply::Whole(html.into())),
        no_answer("broken JSON", answer(200, "", "{\"payload\": [1, 2,")),
        no_answer("a redirect", answer(302, "location: http://127.0.0.1:9/elsewhere\r\n", "")),
        Behaviour {
            name: "an answer that says it is huge",
            // It is refused before it is read, for nothing comes of it.
            reply: Reply::Silence(huge.into()),
            judge: too_long,
        },
        Behaviour {
            name: "a throttle",
            reply: answer(429, "retry-after: 0\r\n", "{}"),
            judge: |ended| {
                failed(ended, &[ErrorKind::RateLimited])
                    .and_then(|()| asked(ended, 2..=9, "a refused call was not carried out and is tried again"))
            },
        },
        // Last: it may cost the connection its token.
        refusal!("a 401", 401, Auth, 1..=2, "one other token is worth a try, no more"),
    ]
}

/// Services that begin to answer, or not, and stay that way: the action ends at its deadline.
pub(crate) fn silences() -> Vec<Behaviour> {
    let begun = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n";
    let judge = |ended: &Ended<'_>| match ended.effect() {
        // On a busy machine the time may be over before the request is there.
        Effect::Create if ended.seen.is_empty() => failed(ended, &[ErrorKind::UnknownOutcome, ErrorKind::Unavailable]),
        Effect::Create => failed(ended, &[ErrorKind::UnknownOutcome])
            .and_then(|()| asked(ended, 1..=1, "it must never be repeated blindly")),
        _ => failed(ended, &[ErrorKind::Unavailable]),
    };
    let all = [("a beginning and nothing more", begun), ("silence", "")];
    all.map(|(name, sent)| Behaviour { name, reply: Reply::Silence(sent.into()), judge }).into()
}
