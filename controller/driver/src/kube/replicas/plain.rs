//! What kubelets and API servers say, made fit for a status: one line, not too long, and without secrets.

/// Most characters of a message.
const MOST: usize = 300;
/// What stands in the place of a secret.
const HIDDEN: &str = "***";
/// What comes before a secret within a word.
const KEYS: [&str; 7] = ["token=", "password=", "passwd=", "secret=", "apikey=", "api_key=", "api-key="];
/// What comes before a secret as a word of its own.
const WORDS: [&str; 3] = ["bearer", "basic", "authorization:"];

/// A message in one line of [`MOST`] characters at most. Passwords in URLs, their queries, and what looks like a
/// token is hidden.
pub(super) fn plain(message: &str) -> String {
    let mut line = String::new();
    let mut hide = false;
    // More is cut off in any case; a hostile text may be long.
    let words = message.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    for word in words.take(MOST) {
        if !line.is_empty() {
            line.push(' ');
        }
        let lower = word.to_ascii_lowercase();
        let opens = WORDS.contains(&lower.trim_matches(|c: char| !c.is_alphanumeric() && c != ':'));
        line.push_str(&if hide && !opens { HIDDEN.to_owned() } else { without_secrets(word, &lower) });
        hide = opens;
    }
    cut(&line, MOST)
}

/// At most so many characters, with an ellipsis where some are left out.
pub(super) fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some(_) => text.chars().take(most.saturating_sub(1)).chain(['…']).collect(),
    }
}

fn without_secrets(word: &str, lower: &str) -> String {
    let key = KEYS.iter().filter_map(|key| Some(lower.find(key)? + key.len())).min();
    match (word.find("://"), key) {
        (Some(at), _) => url(word, at + 3),
        (None, Some(end)) => format!("{}{HIDDEN}", &word[..end]),
        (None, None) => word.to_owned(),
    }
}

/// A URL without user and query.
fn url(word: &str, host: usize) -> String {
    let (scheme, rest) = word.split_at(host);
    let (rest, query) = rest.split_once('?').map_or((rest, ""), |(rest, _)| (rest, "?***"));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let authority = match authority.rsplit_once('@') {
        Some((_, host)) => format!("{HIDDEN}@{host}"),
        None => authority.to_owned(),
    };
    format!("{scheme}{authority}{path}{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_short_line() {
        assert_eq!(plain(" Back-off\n\tpulling \u{1b}[31m image "), "Back-off pulling [31m image");
        let long = plain(&"é".repeat(1_000_000));
        assert_eq!((long.chars().count(), long.ends_with('…')), (300, true));
        assert_eq!(plain(&"a ".repeat(1_000_000)).chars().count(), 300);
    }

    #[test]
    fn secrets_are_hidden_and_their_names_are_not() {
        for (said, shown) in [
            (r#"secret "db" not found"#, r#"secret "db" not found"#),
            (
                "GET https://ada:s3cret@registry:5000/v2/x?sig=s3cret: 401",
                "GET https://***@registry:5000/v2/x?***",
            ),
            (
                "GET https://registry/v2/web@sha256:ab gave 404",
                "GET https://registry/v2/web@sha256:ab gave 404",
            ),
            ("Authorization: Bearer s3cret, denied", "Authorization: Bearer *** denied"),
            ("exec /app --token=s3cret failed", "exec /app --token=*** failed"),
            ("DB_PASSWORD=s3cret", "DB_PASSWORD=***"),
        ] {
            let line = plain(said);
            assert!(!line.contains("s3cret") && line.starts_with(shown), "{said} -> {line}");
        }
    }
}
