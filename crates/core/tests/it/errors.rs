//! Errors: what they keep when they are stored, and what earlier versions have stored.

use std::time::Duration;

use serde_json::json;
use trunkline_core::{
    ConnectStage, Diagnostic, Error, ErrorDetail, ErrorKind, NextStep, Redactor, Retry, Schema, Secret, StoreFault,
    written_schema_of,
};

fn all_details() -> Vec<ErrorDetail> {
    use ErrorDetail::*;
    let mut all = vec![
        Setting { pointer: "/clientSecret".into() },
        Step { step: "copy/a1/upload".to_owned() },
        UnknownSince { run: "7d4f9a".to_owned() },
        EndsRun,
        EndsStep { step: "copy".to_owned() },
        NotSent,
        MaybeSent,
        Repeated { tries: 5 },
        SourceChanged,
        UrlExpired,
        BlocksLost,
        NotAsExpected,
        ExpectationMissing,
        KeyReused,
    ];
    let codes = ["invalid_client", "invalid_grant", "invalid_request", "invalid_scope", "unauthorized_client", "odd"];
    all.extend(codes.map(|code| TokenRefused { code: code.to_owned().into() }));
    let stages = [ConnectStage::Proxy, ConnectStage::Name, ConnectStage::Tcp, ConnectStage::Tls];
    all.extend(stages.map(|stage| NoConnection { stage }));
    all.extend(self::StoreFault::ALL.iter().map(|&fault| ErrorDetail::StoreFault { fault }));
    all
}

#[test]
fn errors_survive_serialization() {
    let error = Error::new(ErrorKind::RateLimited, "asset.get was refused")
        .retry(Retry::After(Duration::from_secs(2)))
        .with("status", 429)
        .setting("/requestsPerSecond")
        .hint("lower the rate")
        .next(NextStep::ResumeRun { run: Some("7d4f9a".to_owned()) });
    let back: Error = serde_json::from_str(&serde_json::to_string(&error).unwrap()).unwrap();
    assert_eq!(format!("{back:?}"), format!("{error:?}"));
    assert_eq!(back.retryable(), Retry::After(Duration::from_secs(2)));
    assert_eq!((back.details(), back.next_steps()), (error.details(), error.next_steps()));
}

#[test]
fn every_detail_and_every_next_step_survives_serialization() {
    for detail in all_details() {
        let error = Error::new(ErrorKind::UnknownOutcome, "lost").with_detail(detail.clone());
        let back: Error = serde_json::from_value(serde_json::to_value(&error).unwrap()).unwrap();
        assert_eq!(back.details(), [detail]);
    }
    for step in NextStep::samples() {
        let error = Error::new(ErrorKind::Conflict, "not now").next(step.clone());
        let written = serde_json::to_value(&error).unwrap();
        assert_eq!(written["hint"], step.to_string(), "the hint stays a text that every host can show");
        assert_eq!(serde_json::from_value::<Error>(written).unwrap().next_steps(), [step]);
    }
}

/// The form in which earlier versions have written errors into journals and vaults.
#[test]
fn an_error_of_an_earlier_version_keeps_its_meaning() {
    let old = json!({
        "kind": "unavailable", "message": "no connection to login.example.com", "hint": "try again later",
        "retry": "backoff",
        "context": { "host": "login.example.com", "stage": "tcp", "sent": "no", "setting": "/tokenUrl" }
    });
    let error: Error = serde_json::from_value(old).unwrap();
    assert_eq!((error.kind(), error.retryable()), (ErrorKind::Unavailable, Retry::Backoff));
    assert_eq!(error.next_steps(), [NextStep::from("try again later")]);
    assert_eq!(error.setting_pointer(), Some("/tokenUrl"));
    assert!(error.has(&ErrorDetail::NotSent) && !error.has(&ErrorDetail::MaybeSent));
    assert!(error.has(&ErrorDetail::NoConnection { stage: ConnectStage::Tcp }));
    assert_eq!(error.facts().count(), 4, "facts are kept for people");
}

/// All details that earlier versions wrote as facts are derived from them.
#[test]
fn every_detail_is_derived_from_the_fact_that_earlier_versions_wrote() {
    // No earlier version wrote these.
    let newer = [ErrorDetail::NotAsExpected, ErrorDetail::ExpectationMissing, ErrorDetail::KeyReused];
    for detail in all_details().into_iter().filter(|detail| !newer.contains(detail)) {
        let error = Error::new(ErrorKind::UnknownOutcome, "lost").with_detail(detail.clone());
        let (key, value) = error.facts().next().unwrap();
        let old = json!({ "kind": "unknown_outcome", "message": "lost", "context": { key: value } });
        assert_eq!(serde_json::from_value::<Error>(old).unwrap().details(), [detail]);
    }
    let lock = json!({ "kind": "conflict", "message": "another process works on it", "context": { "run": "7d4f9a" } });
    assert_eq!(serde_json::from_value::<Error>(lock).unwrap().details(), [], "a lock is not an unknown outcome");
}

#[test]
fn a_fact_is_not_a_detail_even_after_serialization() {
    let error = Error::new(ErrorKind::Conflict, "closed").with("tries", 3).with("source", "changed");
    let back: Error = serde_json::from_value(serde_json::to_value(&error).unwrap()).unwrap();
    assert_eq!((error.details(), back.details()), (&[][..], &[][..]));
    assert_eq!(back.facts().collect::<Vec<_>>(), [("tries", "3"), ("source", "changed")]);
}

#[test]
fn the_first_of_details_that_exclude_each_other_is_kept() {
    let step = ErrorDetail::EndsStep { step: "copy".to_owned() };
    let error = Error::new(ErrorKind::Timeout, "late").with_detail(step.clone()).with_detail(ErrorDetail::EndsRun);
    assert_eq!(error.details(), [step]);
    // A fact of the same key, from a connector, does not hide the detail.
    let error =
        Error::new(ErrorKind::Failed, "no").with("step", "mine").with_detail(ErrorDetail::Step { step: "a".into() });
    assert_eq!((error.step(), error.facts().next()), (Some("a"), Some(("step", "mine"))));
}

#[test]
fn secrets_are_redacted_in_next_steps_too() {
    let (redactor, secret) = (Redactor::default(), Secret::from("canary-of-the-next-step"));
    redactor.add(&secret);
    for step in NextStep::samples() {
        let mut step = serde_json::to_value(step).unwrap();
        let members = step.as_object_mut().unwrap().iter_mut();
        let texts = members.filter(|(name, value)| *name != "type" && value.is_string());
        let named = texts.map(|(_, text)| *text = secret.expose().into()).count();
        let error = Error::new(ErrorKind::Conflict, "no").next(serde_json::from_value::<NextStep>(step).unwrap());
        let shown = |redactor| format!("{:?}", error.clone().redacted(redactor));
        assert!(!shown(&redactor).contains("canary"), "{error:?}");
        // The twin: a redactor that does not know the secret leaves it there.
        assert_eq!(shown(&Redactor::default()).contains("canary"), named > 0, "{error:?}");
    }
}

/// Returns the names of the variants of an enum in a source.
fn variants(source: &str, name: &str) -> Vec<String> {
    let (_, body) = source.split_once(&format!("pub enum {name} {{")).unwrap();
    let (body, _) = body.split_once("\n}").unwrap();
    let lines =
        body.lines().filter_map(|line| line.strip_prefix("    ").filter(|line| line.starts_with(char::is_uppercase)));
    lines.map(|line| line.chars().take_while(|c| c.is_alphanumeric()).collect()).collect()
}

#[test]
fn the_samples_have_every_variant() {
    let name = |shown: String| shown.chars().take_while(|c| c.is_alphanumeric()).collect::<String>();
    let mut steps: Vec<_> = NextStep::samples().iter().map(|step| name(format!("{step:?}"))).collect();
    steps.dedup();
    assert_eq!(steps, variants(include_str!("../../src/error/next_step.rs"), "NextStep"));
    let mut details: Vec<_> = all_details().iter().map(|detail| name(format!("{detail:?}"))).collect();
    details.sort();
    details.dedup();
    let mut known = variants(include_str!("../../src/error/detail.rs"), "ErrorDetail");
    known.sort();
    assert_eq!(details, known);
    // The sabotage twin: a variant without a sample is found.
    assert_eq!(variants("pub enum A {\n    /// One.\n    One { a: u8 },\n    Two,\n}", "A"), ["One", "Two"]);
}

#[test]
fn written_errors_and_findings_fit_their_schemas() {
    let (error_schema, finding_schema) =
        (Schema::from(written_schema_of::<Error>()), Schema::from(written_schema_of::<Diagnostic>()));
    let plain = Error::new(ErrorKind::NotFound, "there is no asset 7");
    let full = all_details().into_iter().fold(plain.clone(), Error::with_detail);
    let full = full.retry(Retry::After(Duration::from_secs(3))).advise(NextStep::samples());
    let waiting = plain.clone().retry(Retry::Backoff).hint("try again later");
    for error in [&plain, &full, &waiting] {
        let written = serde_json::to_value(error).unwrap();
        assert_eq!(error_schema.check(&written), [], "{written}");
        let finding = serde_json::to_value(Diagnostic::from(error)).unwrap();
        assert_eq!(finding_schema.check(&finding), [], "{finding}");
    }
    // The sabotage twin: what is not an error is found.
    let mut wrong = serde_json::to_value(&full).unwrap();
    wrong["kind"] = "lost".into();
    assert_ne!(error_schema.check(&wrong), []);
    wrong["next"][0]["type"] = "despair".into();
    assert_eq!(error_schema.check(&wrong).len(), 2);
}
