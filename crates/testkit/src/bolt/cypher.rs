//! The testkit's queries in the words of Cypher 3.0.

/// Pairs that mean the same, as our queries use them: from 5 on, and in 3.0.
const WORDS: [(&str, &str); 3] =
    [("toInteger(", "toInt("), ("elementId(", "id("), ("USING RANGE INDEX", "USING INDEX")];

/// How a count of patterns begins and ends; our patterns hold no braces.
const COUNT: (&str, &str) = ("COUNT { ", " }");

/// A query that is written for 5, for a server of 3.0: parameters are `{name}` there instead of
/// `$name`, and some functions have other names. So there is one load and one verdict for both.
///
/// Mechanical, and good for the testkit's own queries only: it does not look for strings.
pub(super) fn of_3_0(query: &str) -> String {
    let mut query = query.to_owned();
    for (new, old) in WORDS {
        query = query.replace(new, old);
    }
    while let Some((before, rest)) = query.split_once(COUNT.0) {
        let (pattern, after) = rest.split_once(COUNT.1).unwrap_or((rest, ""));
        query = format!("{before}size({pattern}){after}");
    }
    let mut parts = query.split('$');
    let mut said = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let (name, after) = part.split_at(end.unwrap_or(part.len()));
        said += &format!("{{{name}}}{after}");
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each difference, in the middle and at the end.
    #[test]
    fn each_difference_is_said_in_the_old_words() {
        let cases = [
            ("MATCH (a {id: $low}) SET a.x = $a_1", "MATCH (a {id: {low}}) SET a.x = {a_1}"),
            ("RETURN COUNT { (w)-[:W]->() }, 1", "RETURN size((w)-[:W]->()), 1"),
            ("COUNT { (a) } + COUNT { (b) }", "size((a)) + size((b))"),
            ("USING RANGE INDEX i:Item(n)", "USING INDEX i:Item(n)"),
            ("count(elementId(r)), toInteger(x)", "count(id(r)), toInt(x)"),
            ("RETURN size([1])", "RETURN size([1])"),
        ];
        for (query, said) in cases {
            assert_eq!(of_3_0(query), said);
        }
    }
}
