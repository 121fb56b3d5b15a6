//! What the MediaValet library has at the start.

use uuid::Uuid;

use super::asset::{Asset, Blob, Category, Content, EPOCH, MediaFile, ROOT_CATEGORY, TARGET_CATEGORY};
use super::state::Event;
use crate::library::{FileCondition, Library, mix};

/// Returns the events that create the initial state: categories, and with `refusals` the assets that already exist.
pub(crate) fn seed(library: &Library, refusals: bool) -> Vec<Event> {
    let id = |number: u128| Uuid::from_u128(ROOT_CATEGORY.as_u128() - 1 + number);
    let rows =
        [(1, None, "Library"), (2, Some(1), "Mediaflow import"), (3, Some(1), "Products"), (4, Some(3), "Spring")];
    let mut events = rows
        .map(|(number, parent, name)| {
            Event::Category(Category {
                id: id(number),
                parent: parent.map(id),
                name: name.to_owned(),
                description: String::new(),
                created_at: EPOCH,
            })
        })
        .to_vec();
    if !refusals {
        return events;
    }
    for file in library.all().filter(|file| file.condition == FileCondition::Preexisting) {
        let guid = |salt: u64| {
            let bits = u128::from(mix(file.key ^ salt)) << 64 | u128::from(mix(file.key ^ salt ^ 0xFF));
            uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid()
        };
        let media = MediaFile {
            id: guid(17),
            temporary: format!("{}.{}", guid(17), file.extension),
            filename: file.filename.clone(),
            size: Some(file.size),
        };
        let mut blob = Blob::new(media.id);
        blob.content = Some(Content { size: file.size, sha256: String::new(), same_as: Some(file.index) });
        let mut asset = Asset::placeholder(guid(23), media, "archive@example.com", EPOCH + file.index as i64 * 1000);
        asset.current = asset.pending.take();
        asset.categories = vec![TARGET_CATEGORY];
        asset.keywords = vec!["archive".to_owned()];
        asset.preexisting = true;
        events.push(Event::Blob(blob));
        events.push(Event::Asset(Box::new(asset)));
    }
    events
}
