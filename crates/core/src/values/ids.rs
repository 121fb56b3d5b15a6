//! The names of a run and of its steps.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Timestamp, pointer_name, pointer_part};

/// The id of a run: 15 digits and lower case letters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct RunId(String);

impl RunId {
    /// Returns a new id for a run that is accepted now.
    ///
    /// Ids grow with time, so a journal finds the rows of a run side by side. Ids of the same millisecond differ in 30
    /// random bits.
    pub fn new(now: Timestamp) -> RunId {
        const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
        let random = Uuid::new_v4().as_u128() & ((1 << 30) - 1);
        let number = u128::from(now.as_millis()) << 30 | random;
        let digit = |place: u32| char::from(DIGITS[(number >> (5 * place) & 31) as usize]);
        RunId((0..15).rev().map(digit).collect())
    }

    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for RunId {
    fn from(id: String) -> RunId {
        RunId(id)
    }
}

impl From<&str> for RunId {
    fn from(id: &str) -> RunId {
        RunId(id.to_owned())
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The path of a step in a run: step ids from the outermost to the innermost, and between them the keys of items, such
/// as `files/4711/asset`. The empty path is the run itself.
///
/// Keys are escaped as in a JSON pointer (`~` as `~0`, `/` as `~1`, RFC 6901), so a key is never mistaken for another
/// step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct StepPath(String);

impl StepPath {
    /// Returns the path of a step or an item below this one. `part` is an id or an unescaped key.
    pub fn join(&self, part: &str) -> StepPath {
        let part = pointer_part(part);
        StepPath(if self.0.is_empty() { part } else { format!("{}/{part}", self.0) })
    }

    /// Returns the path under which the deadline, the failure and the failure handler of the flow at this path are
    /// recorded. No step and no item can have this path.
    pub fn of_flow(&self) -> StepPath {
        StepPath(if self.0.is_empty() { "~flow".to_owned() } else { format!("{}/~flow", self.0) })
    }

    /// Returns whether this path is the other path or lies below it.
    pub fn is_within(&self, other: &StepPath) -> bool {
        let rest = self.0.strip_prefix(&other.0);
        other.0.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Returns the range of all paths below this one: '0' follows '/', so it contains exactly the paths with the prefix
    /// "PATH/".
    pub fn below(&self) -> std::ops::Range<StepPath> {
        StepPath(format!("{}/", self.0))..StepPath(format!("{}0", self.0))
    }

    /// Returns the paths above this one, from the outermost to the innermost.
    pub fn ancestors(&self) -> Vec<StepPath> {
        self.0.match_indices('/').map(|(at, _)| StepPath(self.0[..at].to_owned())).collect()
    }

    /// Returns the parent path, and the last part as an unescaped id or key; nothing for a path of one part.
    pub fn split(&self) -> Option<(StepPath, String)> {
        let (outer, last) = self.0.rsplit_once('/')?;
        Some((StepPath(outer.to_owned()), pointer_name(last)))
    }

    /// Returns whether this path matches the path of an `each` step in a run's ledger, where `*` stands for any item.
    pub fn is_like(&self, pattern: &str) -> bool {
        let (mut parts, mut like) = (self.0.split('/'), pattern.split('/'));
        loop {
            match (parts.next(), like.next()) {
                (None, None) => return true,
                (Some(part), Some(like)) if part == like || like == "*" => {}
                _ => return false,
            }
        }
    }

    /// Returns the path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for StepPath {
    fn from(path: &str) -> Self {
        StepPath(path.to_owned())
    }
}

impl fmt::Display for StepPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
