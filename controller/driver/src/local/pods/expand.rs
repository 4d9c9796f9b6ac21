//! `$(VAR)` in commands, arguments and values, as Kubernetes expands it.

/// Replaces each `$(NAME)` that is known. `$$` is a literal `$`, so `$$(NAME)` stays `$(NAME)`; an unknown name, and
/// any other `$`, stays as it is. (API reference of Kubernetes: Container, `command`.)
pub(super) fn expand<'a>(text: &str, known: impl Fn(&str) -> Option<&'a str>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let (piece, taken) = after_dollar(&rest[at + 1..], &known);
        out.push_str(&piece);
        rest = &rest[at + 1 + taken..];
    }
    out + rest
}

/// What stands for a `$` with what follows it, and how much of that it takes.
fn after_dollar<'a>(rest: &str, known: &impl Fn(&str) -> Option<&'a str>) -> (String, usize) {
    if rest.starts_with('$') {
        return ("$".to_owned(), 1);
    }
    let Some(name) = rest.strip_prefix('(').and_then(|r| r.split_once(')')).map(|(name, _)| name) else {
        return ("$".to_owned(), 0);
    };
    let value = known(name).map_or_else(|| format!("$({name})"), str::to_owned);
    (value, name.len() + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_replaced_as_kubernetes_does() {
        let known = |name: &str| match name {
            "A" => Some("1"),
            "EMPTY" => Some(""),
            _ => None,
        };
        let cases = [
            ("$(A)", "1"),
            ("x$(A)y$(A)", "x1y1"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$$$$(A)", "$$(A)"),
            ("$(B)", "$(B)"),
            ("$(EMPTY)|", "|"),
            ("$(A", "$(A"),
            ("$A ${A}", "$A ${A}"),
            ("$", "$"),
            ("$(", "$("),
            ("$()", "$()"),
            ("é$(A)é", "é1é"),
        ];
        for (text, expanded) in cases {
            assert_eq!(expand(text, known), expanded, "{text}");
        }
    }
}
