//! The known names that are similar to a misspelt one.

/// Returns the known name that is most similar to a misspelt one, or `None` if none of them is similar. Case does not
/// matter.
pub fn closest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    by_distance(name, known)
        .into_iter()
        .find(|(distance, known)| *distance <= 1 + known.len() / 4)
        .map(|(_, known)| known)
}

/// Returns the known names, the most similar ones first.
pub fn by_similarity<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    by_distance(name, known).into_iter().map(|(_, known)| known).collect()
}

/// Returns the known names with the number of edits that make each of them of this name, the smallest number first.
fn by_distance<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Vec<(usize, &'a str)> {
    let name = name.to_lowercase();
    let mut found: Vec<_> =
        known.map(|known| (strsim::damerau_levenshtein(&name, &known.to_lowercase()), known)).collect();
    // A stable sort: equally similar names keep their order.
    found.sort_by_key(|(distance, _)| *distance);
    found
}
