//! `file.changes`: each new or removed file is reported once, and none is lost.

use super::*;

/// A library that grows: `(id, uploaded)`, newest last, and the files of folder 12.
#[derive(Default)]
struct Library {
    files: Vec<(i64, String)>,
    folder: BTreeSet<i64>,
}

impl Library {
    fn add(&mut self, ids: std::ops::Range<i64>, uploaded: impl Fn(i64) -> String) {
        self.files.extend(ids.map(|id| (if id % 3 == 0 { -id } else { id }, uploaded(id))));
    }
}

/// Returns a different upload time for each file.
fn apart(id: i64) -> String {
    format!("2026-01-31 {:02}:{:02}:{:02}", id / 3600, id / 60 % 60, id % 60)
}

struct Growing {
    mediaflow: Connections,
    library: Arc<Mutex<Library>>,
    seen: Arc<Mutex<Vec<Request>>>,
    tells_when: Arc<AtomicBool>,
    _server: MockServer,
}

impl Growing {
    async fn new() -> Growing {
        let library = Arc::new(Mutex::new(Library::default()));
        let tells_when = Arc::new(AtomicBool::new(true));
        let (shown, dated) = (library.clone(), tells_when.clone());
        let (server, mediaflow, seen) = stage(move |request| {
            let library = shown.lock().unwrap();
            let row = |(id, uploaded): &(i64, String)| match dated.load(Ordering::SeqCst) {
                true => json!({ "id": id, "uploaded": uploaded }),
                false => json!({ "id": id }),
            };
            let number = |name| query(request, name).map_or(1, |text| text.parse::<usize>().unwrap());
            ok(match request.url.path() {
                "/1/file/latest" => {
                    let mut newest: Vec<_> = library.files.iter().rev().collect();
                    newest.sort_by(|a, b| b.1.cmp(&a.1));
                    let (page, size) = (number("page"), number("per_page"));
                    newest.into_iter().skip((page - 1) * size).take(size).map(row).collect()
                }
                _ => library.folder.iter().map(|id| json!({ "id": id })).collect(),
            })
        })
        .await;
        Growing { mediaflow, library, seen, tells_when, _server: server }
    }

    async fn changes(&self, cursor: &Value, limit: usize, folder: Option<i64>) -> Value {
        let mut input = json!({ "cursor": cursor, "limit": limit });
        if let Some(folder) = folder {
            input["folder"] = folder.into();
        }
        call(&self.mediaflow, "file.changes", input).await
    }

    /// Calls the action until there is nothing new. Returns the new ids, and the cursor after them.
    async fn all(&self, mut cursor: Value, limit: usize) -> (Vec<i64>, Value) {
        let mut all = Vec::new();
        loop {
            let found = self.changes(&cursor, limit, None).await;
            assert_eq!(found["removed"], json!([]));
            assert!(found["cursor"].to_string().len() < 2_000, "{}", found["cursor"]);
            all.extend(ids(&found));
            cursor = found["cursor"].clone();
            if found["more"] == false {
                return (all, cursor);
            }
        }
    }
}

fn ids(found: &Value) -> Vec<i64> {
    found["added"].as_array().unwrap().iter().map(|file| file["id"].as_i64().unwrap().abs()).collect()
}

#[tokio::test]
async fn new_files_are_reported_once_and_none_is_lost() {
    let growing = Growing::new().await;
    let (none, cursor) = growing.all(Value::Null, 1000).await;
    assert!(none.is_empty(), "the first call only returns a cursor");
    growing.library.lock().unwrap().add(1..4, apart);
    let (found, cursor) = growing.all(cursor, 1000).await;
    assert_eq!(found, [1, 2, 3], "oldest upload first, in a library that was empty");
    growing.library.lock().unwrap().add(4..400, apart);
    let (found, cursor) = growing.all(cursor, 70).await;
    // Each response is sorted, and the next one continues after it.
    assert_eq!(found, (4..400).collect::<Vec<_>>());

    growing.seen.lock().unwrap().clear();
    let (found, cursor) = growing.all(cursor, 1000).await;
    assert!(found.is_empty());
    assert_eq!(growing.seen.lock().unwrap().len(), 1, "one call finds that nothing is new");

    // A file appears late, with an earlier time than some reported ones; and some reported files are gone.
    {
        let mut library = growing.library.lock().unwrap();
        library.files.retain(|(id, _)| ![399, 398, 380, 351].contains(&id.abs()));
        library.files.push((9_000, apart(390)));
        library.add(400..402, apart);
    }
    let (found, cursor) = growing.all(cursor, 1000).await;
    assert_eq!(found, [9_000, 400, 401]);
    // All remembered files are gone.
    growing.library.lock().unwrap().files.retain(|(id, _)| id.abs() < 300);
    let (found, cursor) = growing.all(cursor, 1000).await;
    assert!(found.is_empty(), "{found:?}");
    growing.library.lock().unwrap().add(500..502, apart);
    assert_eq!(growing.all(cursor, 1000).await.0, [500, 501]);
}

#[tokio::test]
async fn many_files_with_one_upload_time_are_reported_once() {
    let growing = Growing::new().await;
    let day = |_| "2026-01-31".to_owned();
    growing.library.lock().unwrap().add(1..201, day);
    let (_, cursor) = growing.all(Value::Null, 1000).await;
    growing.library.lock().unwrap().add(201..203, day);
    let (found, cursor) = growing.all(cursor, 1000).await;
    assert_eq!(found, [201, 202]);
    growing.library.lock().unwrap().add(203..350, day);
    let (found, _) = growing.all(cursor, 60).await;
    assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), found.len());
    assert_eq!(found.len(), 147);
}

#[tokio::test]
async fn without_upload_times_the_ids_are_used() {
    let growing = Growing::new().await;
    growing.tells_when.store(false, Ordering::SeqCst);
    growing.library.lock().unwrap().add(1..151, apart);
    let (_, cursor) = growing.all(Value::Null, 1000).await;
    growing.library.lock().unwrap().add(151..155, apart);
    let (found, cursor) = growing.all(cursor, 1000).await;
    assert_eq!(found, [151, 152, 153, 154]);
    assert!(growing.all(cursor, 1000).await.0.is_empty());
}

#[tokio::test]
async fn too_many_new_files_are_an_error_and_not_truncated() {
    let growing = Growing::new().await;
    growing.library.lock().unwrap().add(1..60, apart);
    let (_, cursor) = growing.all(Value::Null, 1000).await;
    growing.library.lock().unwrap().add(60..10_200, apart);
    let error = run(&growing.mediaflow, "file.changes", json!({ "cursor": cursor })).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
    assert!(error.advice().unwrap().contains("folder.files"), "{error:?}");
}

#[tokio::test]
async fn a_folder_reports_added_and_removed_files() {
    let growing = Growing::new().await;
    growing.library.lock().unwrap().folder = [1, 2, -3].into();
    let marked = growing.changes(&Value::Null, 2, Some(12)).await;
    assert_eq!((&marked["added"], &marked["removed"], &marked["more"]), (&json!([]), &json!([]), &json!(false)));
    growing.library.lock().unwrap().folder = [2, -4, 5, 6, 7].into();
    let first = growing.changes(&marked["cursor"], 2, Some(12)).await;
    assert_eq!((ids(&first).len(), &first["removed"], &first["more"]), (2, &json!([-3, 1]), &json!(true)));
    let second = growing.changes(&first["cursor"], 2, Some(12)).await;
    assert_eq!((&second["removed"], &second["more"]), (&json!([]), &json!(false)));
    let both: BTreeSet<_> = ids(&first).into_iter().chain(ids(&second)).collect();
    assert_eq!(both, [4, 5, 6, 7].into());
    let last = growing.changes(&second["cursor"], 2, Some(12)).await;
    assert_eq!((&last["added"], &last["removed"]), (&json!([]), &json!([])));

    growing.library.lock().unwrap().folder = (1..10_002).collect();
    assert_eq!(kind(&growing.mediaflow, "file.changes", json!({ "folder": 12 })).await, ErrorKind::Limit);
    for wrong in [
        json!({ "folder": 13, "cursor": last["cursor"] }),
        json!({ "cursor": last["cursor"] }),
        json!({ "cursor": "yesterday" }),
        json!({ "limit": 0 }),
    ] {
        assert_eq!(kind(&growing.mediaflow, "file.changes", wrong).await, ErrorKind::InvalidInput);
    }
}
