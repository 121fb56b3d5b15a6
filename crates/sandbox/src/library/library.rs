//! The generated source files of the Mediaflow library.
//!
//! Nothing is stored. All metadata and all bytes of a file are a function of the seed and the file's number. So a
//! library of a million files costs no memory, and the same seed gives the same library again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use data_encoding::HEXLOWER;
use futures::Stream;
use sha2::{Digest, Sha256};

use crate::Options;

/// The size of one generated block, in bytes.
pub(crate) const BLOCK: u64 = 64 * 1024;
/// The absolute value of the id of the first file, and the distance to the next one.
const FIRST_ID: i64 = 100_001;
const ID_STEP: i64 = 3;

/// The reasons that the permission check gives for files that must not be downloaded.
const DENIALS: [&str; 5] = ["MARKING_DENIED", "LICENCE_RIGHTS", "FILE_DENIED", "FOLDER_DENIED", "DATE_DENIED"];

/// The random generator: maps a number to a pseudo-random one (the finaliser of SplitMix64).
pub(crate) fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// What is special about a file if [`Options::refusals`] is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileCondition {
    Ordinary,
    Denied,
    NoConsent,
    Preexisting,
}

/// One file of the library.
#[derive(Clone, Debug)]
pub(crate) struct SourceFile {
    pub index: u64,
    pub id: i64,
    pub title: String,
    pub filename: String,
    pub extension: &'static str,
    pub size: u64,
    pub condition: FileCondition,
    /// A number from which more properties of the file are derived with [`mix`].
    pub key: u64,
}

impl SourceFile {
    /// Returns the reason why the file must not be downloaded, if there is one.
    pub(crate) fn denial(&self) -> Option<&'static str> {
        (self.condition == FileCondition::Denied).then(|| DENIALS[(self.key % 5) as usize])
    }

    pub(crate) fn media_type(&self) -> &'static str {
        media_type(&self.filename)
    }

    /// Returns the entity tag of the original.
    pub(crate) fn etag(&self) -> String {
        format!("\"{:016x}-{:x}\"", self.key, self.size)
    }
}

/// Returns the media type of a file of this name.
pub(crate) fn media_type(filename: &str) -> &'static str {
    match filename.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase()).as_deref() {
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("tif" | "tiff") => "image/tiff",
        Some("png") => "image/png",
        Some("pdf") => "application/pdf",
        Some("mp4") => "video/mp4",
        _ => "application/octet-stream",
    }
}

/// The library: the parameters that all files are generated from.
#[derive(Debug)]
pub(crate) struct Library {
    pub files: u64,
    seed: u64,
    min_size: u64,
    max_size: u64,
    refusals: bool,
    /// The random block that all blocks of content are derived from.
    base: Arc<Vec<u8>>,
    /// SHA-256 digests of originals, by file number.
    digests: Mutex<HashMap<u64, String>>,
}

impl Library {
    pub(crate) fn new(options: &Options) -> Library {
        let mut base = Vec::with_capacity(BLOCK as usize);
        for word in 0..BLOCK / 8 {
            base.extend_from_slice(&mix(mix(options.seed) ^ word).to_le_bytes());
        }
        Library {
            files: options.files,
            seed: options.seed,
            min_size: options.min_size.max(1),
            max_size: options.max_size.max(options.min_size.max(1)),
            refusals: options.refusals,
            base: Arc::new(base),
            digests: Mutex::default(),
        }
    }

    /// Returns the file with this number, counted from 0.
    pub(crate) fn file(&self, index: u64) -> SourceFile {
        let key = mix(mix(self.seed).wrapping_add(index));
        let extension = match mix(key ^ 1) % 100 {
            0..70 => "jpg",
            70..82 => "tif",
            82..92 => "pdf",
            _ => "mp4",
        };
        let number = index + 1;
        let stem = match (index % 17, extension) {
            (3, _) => format!("Sommarkväll på ön {number:06}"),
            (9, _) => format!("Rabatt 50% #{number:06}"),
            (13, _) => format!("Größe & Übersicht {number:06}"),
            (_, "pdf") => format!("DOC_{number:06}"),
            (_, "mp4") => format!("VID_{number:06}"),
            _ => format!("IMG_{number:06}"),
        };
        let title = if index.is_multiple_of(5) { format!("Harbour at dawn {number}") } else { stem.clone() };
        let share = (mix(key ^ 2) >> 11) as f64 / (1u64 << 53) as f64;
        let (low, high) = (self.min_size as f64, self.max_size as f64);
        let size = ((low * (high / low).powf(share)).round() as u64).clamp(self.min_size, self.max_size);
        let condition = match mix(key ^ 3) % 100 {
            0..4 if self.refusals => FileCondition::Denied,
            4..8 if self.refusals => FileCondition::NoConsent,
            8..14 if self.refusals => FileCondition::Preexisting,
            _ => FileCondition::Ordinary,
        };
        let magnitude = FIRST_ID + ID_STEP * i64::try_from(index).unwrap_or(0);
        let id = if mix(key ^ 4).is_multiple_of(8) { -magnitude } else { magnitude };
        SourceFile { index, id, title, filename: format!("{stem}.{extension}"), extension, size, condition, key }
    }

    /// Iterates over all files in the order of their uploads.
    pub(crate) fn all(&self) -> impl DoubleEndedIterator<Item = SourceFile> + '_ {
        (0..self.files).map(|index| self.file(index))
    }

    /// Returns the file with this id.
    pub(crate) fn by_id(&self, id: i64) -> Option<SourceFile> {
        let distance = id.checked_abs()?.checked_sub(FIRST_ID)?;
        if distance < 0 || distance % ID_STEP != 0 {
            return None;
        }
        let index = u64::try_from(distance / ID_STEP).ok().filter(|index| *index < self.files)?;
        Some(self.file(index)).filter(|file| file.id == id)
    }

    /// Returns the file with this file name.
    pub(crate) fn by_filename(&self, filename: &str) -> Option<SourceFile> {
        let stem = filename.rsplit_once('.')?.0;
        let digits = stem.rfind(|c: char| !c.is_ascii_digit()).map_or(stem, |at| {
            let next = stem[at..].chars().next().map_or(1, char::len_utf8);
            &stem[at + next..]
        });
        let index = digits.parse::<u64>().ok()?.checked_sub(1).filter(|index| *index < self.files)?;
        Some(self.file(index)).filter(|file| file.filename == filename)
    }

    /// Returns the bytes from offset `start` to `end` (excluded) of the file with this key, in chunks of at most
    /// [`BLOCK`] bytes. `variant` 0 is the original; every other variant is the content of a rendition.
    pub(crate) fn content(
        &self,
        key: u64,
        variant: u64,
        start: u64,
        end: u64,
    ) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> + Send + use<> {
        let base = self.base.clone();
        let key = if variant == 0 { key } else { mix(key ^ variant) };
        futures::stream::unfold(start, move |position| {
            let chunk = (position < end).then(|| {
                let number = position / BLOCK;
                let last = ((number + 1) * BLOCK).min(end);
                let block = Bytes::from(block(&base, key, number));
                let from = (position - number * BLOCK) as usize;
                let to = (last - number * BLOCK) as usize;
                (Ok(block.slice(from..to)), last)
            });
            async move { chunk }
        })
    }

    /// Returns all bytes of a file.
    pub(crate) fn bytes(&self, file: &SourceFile) -> Vec<u8> {
        let blocks = (0..file.size.div_ceil(BLOCK)).flat_map(|number| block(&self.base, file.key, number));
        blocks.take(usize::try_from(file.size).unwrap_or(usize::MAX)).collect()
    }

    /// Returns the SHA-256 of a file in lower-case hexadecimal digits. It is computed once.
    pub(crate) fn digest(&self, index: u64) -> String {
        let cached = self.digests.lock().unwrap_or_else(PoisonError::into_inner).get(&index).cloned();
        cached.unwrap_or_else(|| {
            let file = self.file(index);
            let mut hash = Sha256::new();
            for number in 0..file.size.div_ceil(BLOCK) {
                let length = (file.size - number * BLOCK).min(BLOCK) as usize;
                hash.update(&block(&self.base, file.key, number)[..length]);
            }
            let digest = HEXLOWER.encode(&hash.finalize());
            self.remember_digest(index, &digest);
            digest
        })
    }

    /// Caches a digest that an upload has computed whose bytes are those of the file.
    pub(crate) fn remember_digest(&self, index: u64, digest: &str) {
        self.digests.lock().unwrap_or_else(PoisonError::into_inner).insert(index, digest.to_owned());
    }

    /// Returns a comparer for a stream of bytes and the file with this name.
    pub(crate) fn comparer(&self, filename: &str) -> Comparer {
        Comparer { base: self.base.clone(), file: self.by_filename(filename), at: 0, block: None }
    }
}

/// Returns one block of content: the base block, rotated, with a header that no other block has.
fn block(base: &[u8], key: u64, number: u64) -> Vec<u8> {
    let bits = mix(key ^ number.wrapping_mul(0xD6E8_FEB8_6659_FD93));
    let rotation = (bits & (BLOCK - 8)) as usize;
    let mut bytes = Vec::with_capacity(BLOCK as usize);
    bytes.extend_from_slice(&base[rotation..]);
    bytes.extend_from_slice(&base[..rotation]);
    for (at, word) in [key, number, bits, !bits].into_iter().enumerate() {
        bytes[at * 8..at * 8 + 8].copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// Finds out whether the bytes of a stream are those of a source file. This is much cheaper than a second digest.
pub(crate) struct Comparer {
    base: Arc<Vec<u8>>,
    file: Option<SourceFile>,
    at: u64,
    block: Option<(u64, Vec<u8>)>,
}

impl Comparer {
    /// Compares the next bytes of the stream.
    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        while let Some(file) = self.file.as_ref().filter(|_| !bytes.is_empty()) {
            let number = self.at / BLOCK;
            if self.block.as_ref().is_none_or(|(known, _)| *known != number) {
                self.block = Some((number, block(&self.base, file.key, number)));
            }
            let from = (self.at % BLOCK) as usize;
            let length = bytes.len().min(BLOCK as usize - from);
            let (head, rest) = bytes.split_at(length);
            let same = self.block.as_ref().is_some_and(|(_, block)| block[from..from + length] == *head);
            self.at += length as u64;
            if !same || self.at > file.size {
                self.file = None;
            }
            bytes = rest;
        }
    }

    /// Returns the number of the file if the stream had exactly its bytes.
    pub(crate) fn finish(self) -> Option<u64> {
        self.file.filter(|file| file.size == self.at).map(|file| file.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_found_by_its_name_and_by_its_id() {
        let library = Library::new(&Options { files: 2000, refusals: true, ..Options::default() });
        for file in library.all() {
            assert_eq!(library.by_id(file.id).map(|found| found.index), Some(file.index));
            assert_eq!(library.by_filename(&file.filename).map(|found| found.index), Some(file.index));
            assert!((1024..=20 * 1024 * 1024).contains(&file.size));
            assert!(library.by_id(-file.id).is_none());
        }
        assert!(library.by_filename("IMG_002001.jpg").is_none());
    }

    #[tokio::test]
    async fn the_comparer_accepts_exactly_the_bytes_that_the_digest_covers() {
        use futures::StreamExt;
        let library = Library::new(&Options { files: 9, min_size: 200_000, max_size: 200_001, ..Options::default() });
        let file = library.file(4);
        let chunks: Vec<_> = library.content(file.key, 0, 0, file.size).collect().await;
        let content: Vec<u8> = chunks.into_iter().flat_map(Result::unwrap).collect();
        assert_eq!(HEXLOWER.encode(&Sha256::digest(&content)), library.digest(4));
        let compare = |bytes: &[u8]| {
            let mut comparer = library.comparer(&file.filename);
            bytes.chunks(777).for_each(|chunk| comparer.update(chunk));
            comparer.finish()
        };
        assert_eq!(compare(&content), Some(4));
        assert_eq!(compare(&content[..content.len() - 1]), None);
        assert_eq!(compare(&[&content[..], b"x"].concat()), None);
        let mut swapped = content.clone();
        swapped[100_000] ^= 1;
        assert_eq!(compare(&swapped), None);
    }
}
