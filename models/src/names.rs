//! Names out of closed lists and keys of settings, as users write them: which one is meant, and what to say if none is.

/// The name that `name` was most likely to be, by edit distance; none where more than a third of it would have to
/// change.
pub fn nearest<'a>(name: &str, all: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let (distance, best) =
        all.into_iter().map(|other| (edit_distance(name, other), other)).min_by_key(|near| near.0)?;
    (3 * distance <= name.len().max(best.len())).then_some(best)
}

/// The one of the dotted `keys` that `name` is, or ends with.
///
/// # Errors
/// The keys that may be meant: several with the same end, the nearest one, or none.
pub fn find_key<'a>(name: &str, keys: &'a [String]) -> Result<&'a str, Vec<String>> {
    if let Some(key) = keys.iter().find(|key| *key == name) {
        return Ok(key);
    }
    let with_end = |end: &str| keys.iter().map(String::as_str).filter(|key| end_of(key) == end).collect::<Vec<_>>();
    match with_end(name).as_slice() {
        &[key] => Ok(key),
        // Compared with the ends alone unless a table is named.
        [] if name.contains('.') => {
            Err(nearest(name, keys.iter().map(String::as_str)).map(str::to_owned).into_iter().collect())
        }
        [] => {
            let end = nearest(name, keys.iter().map(|key| end_of(key)));
            Err(end.map(with_end).unwrap_or_default().into_iter().map(str::to_owned).collect())
        }
        several => Err(several.iter().map(|&key| key.to_owned()).collect()),
    }
}

fn end_of(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}

/// `; did you mean a or b?`, or nothing where nothing is near.
pub fn did_you_mean<T: AsRef<str>>(meant: &[T]) -> String {
    let meant: Vec<&str> = meant.iter().map(AsRef::as_ref).collect();
    if meant.is_empty() { String::new() } else { format!("; did you mean {}?", meant.join(" or ")) }
}

/// What a deserializer complains of, in a user's words: the names there are, and numbers instead of the names of types.
pub fn plain_reason(complaint: &str) -> String {
    let complaint = complaint.trim();
    let Some((problem, expected)) = complaint.split_once(", expected ") else { return complaint.to_owned() };
    if problem.starts_with("unknown variant") {
        let names = expected.trim_start_matches("one of ").replace('`', "").replace(" or ", ", ");
        return format!("there are {names}");
    }
    match expected {
        "u32" => format!("a whole number from 0 to {} is needed", u32::MAX),
        "u64" | "usize" => "a whole number from 0 on is needed".into(),
        "f64" => "a number is needed".into(),
        _ => complaint.to_owned(),
    }
}

/// Levenshtein's distance over bytes.
fn edit_distance(a: &str, b: &str) -> usize {
    let b = b.as_bytes();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, &x) in a.as_bytes().iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_single_edits() {
        assert_eq!(edit_distance("vanila", "vanilla"), 1);
        assert_eq!(edit_distance("", "abc"), 3);
        assert_eq!(edit_distance("kitten", "sitting"), 3);
    }

    #[test]
    fn only_what_is_near_is_taken_for_what_was_meant() {
        assert_eq!(nearest("primer-ez", ["vanilla", "primer", "primer_ez"]), Some("primer_ez"));
        assert_eq!(nearest("popluation", ["tournament", "population"]), Some("population"));
        for (far, names) in [("foo", ["gelu", "vanilla"]), ("big", ["mini", "xl"]), ("", ["a", "b"])] {
            assert_eq!(nearest(far, names), None, "{far}");
        }
    }

    #[test]
    fn a_key_is_found_by_its_end_where_only_one_has_it() {
        let keys = ["model.seq", "model.unit", "fitness.unit", "seed"].map(str::to_owned);
        for (name, key) in [("model.seq", "model.seq"), ("seq", "model.seq"), ("seed", "seed")] {
            assert_eq!(find_key(name, &keys), Ok(key));
        }
        for (name, meant) in [
            ("unit", &["model.unit", "fitness.unit"][..]),
            ("units", &["model.unit", "fitness.unit"]),
            ("model.sec", &["model.seq"]),
            ("learning", &[]),
        ] {
            assert_eq!(find_key(name, &keys).unwrap_err(), meant, "{name}");
        }
        assert_eq!(did_you_mean(&["model.unit", "fitness.unit"]), "; did you mean model.unit or fitness.unit?");
    }

    #[test]
    fn types_are_told_as_what_to_write() {
        for (complaint, reason) in [
            ("unknown variant `sgd`, expected `adamw` or `adafactor`", "there are adamw, adafactor"),
            ("unknown variant `x`, expected one of `a`, `b`, `c`\n", "there are a, b, c"),
            ("invalid type: string \"few\", expected u32", "a whole number from 0 to 4294967295 is needed"),
            ("invalid type: string \"few\", expected f64", "a number is needed"),
            ("it is too wide", "it is too wide"),
        ] {
            assert_eq!(plain_reason(complaint), reason);
        }
    }
}
