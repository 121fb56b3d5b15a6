//! Every rule against a model of a service that caps pages, hides items, repeats its last page, counts in its own way
//! and fails in the middle: every item arrives exactly once, or the list is an error, or it reports that items may be
//! missing.

use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use super::*;

/// What the service does in response to a request beyond the end.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Beyond {
    Empty,
    NotFound,
    LastPage,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Total {
    None,
    /// Of all items, with the hidden ones.
    All,
    /// Of the items that are not hidden.
    Visible,
    /// Of the items of the page.
    Page,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Failure {
    Error,
    ErrorBesideNothing,
    NoPlace,
    Null,
    Text,
}

#[derive(Clone, Debug)]
struct Service {
    kind: &'static str,
    /// For each item whether it is hidden.
    items: Vec<bool>,
    cap: usize,
    size: usize,
    beyond: Beyond,
    total: Total,
    /// Whether pages have a flag for more items, and the row a pointer to it.
    more: bool,
    last: bool,
    /// Whether offsets count hidden items, too.
    counts_hidden: bool,
    /// Whether offsets are rounded down to whole pages.
    rounds: bool,
    /// Whether offsets have to be multiples of the number of items that is asked for.
    insists: bool,
    /// Whether the row says so.
    declared: bool,
    /// Whether the position is ignored.
    ignores: bool,
    /// Whether the page begins with the item of the cursor, and a list with cursors ends with its last cursor again.
    inclusive: bool,
    failure: Option<(usize, Failure)>,
}

impl Service {
    fn row(&self) -> String {
        let mut row = match self.kind {
            "offset" => "kind = 'offset'\noffset = 'at'\n".to_owned(),
            "number" => "kind = 'number'\npage = 'at'\nfirst = 0\n".to_owned(),
            "cursor" => "kind = 'cursor'\ncursor = 'at'\nnext = '/next'\n".to_owned(),
            "link" => "kind = 'link'\nnext = '/next'\n".to_owned(),
            _ => "kind = 'keyset'\ncursor = 'at'\nkey = '/id'\n".to_owned(),
        };
        row += &format!("items = '/items'\ncount = 'n'\nsize = {}\n", self.size);
        let counts = ["offset", "number"].contains(&self.kind);
        if counts && self.total != Total::None {
            row += "total = '/total'\n";
        }
        if counts && self.beyond == Beyond::NotFound {
            row += "endStatus = [404]\n";
        }
        if self.more {
            row += "more = '/more'\n";
        }
        if self.is_declared() {
            row += "multiples = true\n";
        }
        if self.last && self.kind == "number" {
            row += "last = '/last'\n";
        }
        row
    }

    fn window(&self) -> usize {
        self.cap.min(self.size)
    }

    /// Whether the row says that offsets are multiples. A flag then shows the end.
    fn is_declared(&self) -> bool {
        self.declared && self.more && self.kind == "offset"
    }

    /// Whether the service refuses this offset.
    fn refuses(&self, at: Option<usize>, count: usize) -> bool {
        self.kind == "offset" && self.insists && !at.unwrap_or(0).is_multiple_of(count)
    }

    fn visible(&self) -> Vec<usize> {
        (0..self.items.len()).filter(|id| !self.items[*id]).collect()
    }

    /// The response to a request, as status and body.
    fn respond(&self, at: Option<usize>, count: usize, requests: usize) -> (u16, Value) {
        if self.refuses(at, count) {
            // The row may take this status for the end.
            return (if self.beyond == Beyond::NotFound { 404 } else { 400 }, Value::Null);
        }
        match self.failure {
            Some((when, failure)) if when == requests => {
                let body = match failure {
                    Failure::Error => json!({ "error": "quota used up" }),
                    Failure::ErrorBesideNothing => json!({ "errors": ["timeout"], "items": [], "next": null }),
                    Failure::NoPlace => json!({ "message": "the index is being built" }),
                    Failure::Null => json!({ "items": null }),
                    Failure::Text => json!("maintenance"),
                };
                return (200, body);
            }
            _ => {}
        }
        // Offsets that do not count hidden items count places in the list of the others.
        let hides_first = self.kind == "offset" && !self.counts_hidden;
        let all: Vec<usize> = if hides_first { self.visible() } else { (0..self.items.len()).collect() };
        let window = self.cap.min(count);
        let at = if self.ignores { None } else { at };
        let mut from = match (self.kind, at) {
            ("number", at) => at.unwrap_or(0) * window,
            ("keyset", Some(at)) if !self.inclusive => at + 1,
            (_, at) => at.unwrap_or(0),
        };
        if self.kind == "offset" && self.rounds {
            from -= from % window;
        }
        let pages = all.len().div_ceil(window).max(1);
        if from >= all.len() && from > 0 && ["offset", "number"].contains(&self.kind) {
            match self.beyond {
                Beyond::Empty => {}
                Beyond::NotFound => return (404, Value::Null),
                Beyond::LastPage => from = (pages - 1) * window,
            }
        }
        let page: Vec<_> = all.iter().skip(from).take(window).filter(|id| !self.items[**id]).collect();
        let items: Vec<_> = page.iter().map(|id| json!({ "id": id })).collect();
        let more = from + window < all.len();
        let mut body = json!({ "more": more, "last": pages - 1 });
        match self.total {
            Total::None => {}
            Total::All => body["total"] = self.items.len().into(),
            Total::Visible => body["total"] = self.visible().len().into(),
            Total::Page => body["total"] = items.len().into(),
        }
        body["items"] = items.into();
        if !self.more {
            body.as_object_mut().unwrap().remove("more");
        }
        match self.kind {
            "cursor" if more => body["next"] = (from + window).into(),
            "cursor" if self.inclusive => body["next"] = all.len().into(),
            "link" if more => body["next"] = (from + window).to_string().into(),
            _ => {}
        }
        (200, body)
    }

    /// Whether a page with hidden items only ends the list for all that its responses say.
    fn hides_the_rest(&self) -> bool {
        let says_more = match self.kind {
            "number" => self.more || self.last || self.total == Total::All,
            "offset" => self.more || self.total == Total::All,
            _ => self.more,
        };
        if self.ignores && self.items.iter().take(self.window()).all(|hidden| *hidden) {
            return true;
        }
        // The item of the cursor takes a place of the page.
        let taken = usize::from(self.kind == "keyset" && self.inclusive && self.window() > 1);
        let mut windows = self.items.windows(self.window() - taken);
        let has_hidden_page = windows.any(|window| window.iter().all(|hidden| *hidden));
        has_hidden_page && !says_more && ["offset", "number", "keyset"].contains(&self.kind)
    }
}

/// Protections that are removed.
#[derive(Clone, Copy, PartialEq)]
enum Sabotage {
    None,
    ShortPagesEnd,
    NoPlaceIsEmpty,
    RepeatedPagesEnd,
    RefusalsEnd,
    RefusedOffsetsEnd,
}

/// Reads the list, as the client does.
fn read_all(service: &Service, sabotage: Sabotage) -> Result<(Vec<Page>, bool), String> {
    let paging = paging(&service.row());
    let (mut pages, mut from, mut failed, mut requests) = (Vec::<Page>::new(), None, false, 0);
    loop {
        let mut input = Map::new();
        let request = paging.request(&mut input, none, from).map_err(|error| error.to_string())?;
        assert!(requests < 400, "the list does not end: {service:?}");
        let number = requests;
        let asked = |input: &Map<String, Value>| {
            let at = input.get("at").and_then(Value::as_u64).map(|at| usize::try_from(at).unwrap());
            let at = at.or_else(|| request.link.as_ref().map(|link| link.parse().unwrap()));
            let count = input.get("n").and_then(Value::as_u64).map(|count| usize::try_from(count).unwrap());
            (at, count.unwrap_or(service.size))
        };
        let respond = |input: &Map<String, Value>| {
            let (at, count) = asked(input);
            service.respond(at, count, number)
        };
        let (status, mut body) = respond(&input);
        // A request that is refused does not get as far as the failure.
        let (at, count) = asked(&input);
        failed |= service.failure.is_some_and(|(when, _)| when == number) && !service.refuses(at, count);
        let ends = if sabotage == Sabotage::RefusalsEnd { &paging.row.end_status } else { paging.end_status(&request) };
        if status >= 400 && !ends.contains(&status) {
            return Err(status.to_string());
        }
        if sabotage == Sabotage::NoPlaceIsEmpty && body.get("items").is_none_or(Value::is_null) {
            body = json!({ "items": [] });
        }
        requests += 1;
        let previous = paging.request_previous(&request, &mut input).then(|| respond(&input).1);
        let response = PageResponse { status, body: &body, link: Ok(None), previous: previous.as_ref(), header: None };
        let mut page = paging.read(&request, &response).map_err(|fault| fault.message)?;
        let is_short = page.items.len() < service.size;
        let is_repeated = page.items.is_empty() && page.next.is_some();
        if (sabotage == Sabotage::ShortPagesEnd && is_short) || (sabotage == Sabotage::RepeatedPagesEnd && is_repeated)
        {
            page.next = None;
        }
        let is_refused = page.next.as_ref().is_some_and(|next| next.get("refused").is_some());
        if is_refused && matches!(sabotage, Sabotage::RefusalsEnd | Sabotage::RefusedOffsetsEnd) {
            page.next = None;
        }
        from = page.next.clone();
        pages.push(page);
        if from.is_none() {
            return Ok((pages, failed));
        }
    }
}

/// The property.
fn holds(service: &Service, sabotage: Sabotage) -> Result<(), TestCaseError> {
    let Ok((pages, failed)) = read_all(service, sabotage) else { return Ok(()) };
    prop_assert!(!failed, "an error was taken for a page");
    if pages.iter().any(|page| page.maybe_incomplete.is_some()) {
        return Ok(());
    }
    let expected: Vec<_> = service.visible().into_iter().map(|id| json!({ "id": id })).collect();
    prop_assert_eq!(items(pages), expected);
    Ok(())
}

prop_compose! {
    fn service()(
        kind in prop::sample::select(vec!["offset", "number", "cursor", "link", "keyset"]),
        items in prop_oneof![
            prop::collection::vec(Just(false), 0..40),
            prop::collection::vec(prop::bool::weighted(0.1), 0..40),
            prop::collection::vec(prop::bool::weighted(0.6), 0..40),
        ],
        (cap, size) in (1_usize..9, 1_usize..9),
        beyond in prop::sample::select(vec![Beyond::Empty, Beyond::NotFound, Beyond::LastPage]),
        total in prop::sample::select(vec![Total::None, Total::All, Total::Visible, Total::Page]),
        (more, last) in (prop::bool::weighted(0.2), prop::bool::weighted(0.3)),
        (counts_hidden, inclusive) in any::<(bool, bool)>(),
        (rounds, ignores) in (prop::bool::weighted(0.1), prop::bool::weighted(0.05)),
        (insists, declared) in (prop::bool::weighted(0.2), prop::bool::weighted(0.3)),
        failure in prop::option::weighted(0.2, (0_usize..6, prop::sample::select(vec![
            Failure::Error, Failure::ErrorBesideNothing, Failure::NoPlace, Failure::Null, Failure::Text,
        ]))),
    ) -> Service {
        Service {
            kind, items, cap, size, beyond, total, more, last, counts_hidden, rounds, insists, declared, ignores,
            inclusive, failure,
        }
    }
}

fn run(cases: u32, sabotage: Sabotage) -> Result<(), String> {
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 20_000, ..Config::default() };
    // The sabotaged runs have to find their fault each time.
    let mut runner = match sabotage {
        Sabotage::None => {
            let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1_u8);
            println!("SEED={seed} of 0 to 255");
            TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]))
        }
        _ => TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha)),
    };
    let readable = service().prop_filter("nothing shows that there is more", |service| !service.hides_the_rest());
    runner.run(&readable, |service| holds(&service, sabotage)).map_err(|error| error.to_string())
}

#[test]
fn every_item_arrives_once_or_the_list_is_an_error() {
    run(4000, Sabotage::None).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn most_lists_are_read_without_an_error() {
    let mut runner = TestRunner::new(Config { cases: 1000, failure_persistence: None, ..Config::default() });
    let sound = |service: &Service| {
        !service.ignores
            && (!service.insists || service.is_declared())
            && service.failure.is_none()
            && !service.hides_the_rest()
    };
    let counts = std::cell::RefCell::new((0, 0, 0));
    let all = runner.run(&service().prop_filter("sound", sound), |service| {
        let mut counts = counts.borrow_mut();
        match read_all(&service, Sabotage::None) {
            Ok((pages, _)) if reasons(&pages).is_empty() => counts.0 += 1,
            Ok(_) => counts.1 += 1,
            Err(_) => counts.2 += 1,
        }
        Ok(())
    });
    all.unwrap();
    let (good, reported, errors) = counts.into_inner();
    println!("{good} read, {reported} reported, {errors} errors");
    assert!(good > 500 && errors < 150, "{good} read, {reported} reported, {errors} errors");
}

/// The sabotage twins: without these protections the same check finds lists that are short in silence.
#[test]
fn the_check_finds_lists_that_end_too_early() {
    for sabotage in [
        Sabotage::ShortPagesEnd,
        Sabotage::NoPlaceIsEmpty,
        Sabotage::RepeatedPagesEnd,
        Sabotage::RefusalsEnd,
        Sabotage::RefusedOffsetsEnd,
    ] {
        run(20_000, sabotage).unwrap_err();
    }
}
