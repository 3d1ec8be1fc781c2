//! Servers by their addresses, where `failover` names them by number.

use std::sync::Arc;

/// Puts a server's address for its number, wherever the text says `server 2`.
pub(super) fn named(text: &str, addresses: &[Arc<str>]) -> String {
    const WORD: &str = "server ";
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(WORD) {
        let (before, from) = rest.split_at(at + WORD.len());
        out.push_str(before);
        let digits = from.len() - from.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, after) = from.split_at(digits);
        match number.parse::<usize>().ok().and_then(|number| addresses.get(number)) {
            Some(address) => out.push_str(address),
            None => out.push_str(number),
        }
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_becomes_an_address() {
        let addresses: Vec<Arc<str>> = vec!["db1:3306".into(), "db2:3306".into()];
        let named = |text| named(text, &addresses);
        assert_eq!(
            named("server 1 is the primary; server 0: gone"),
            "server db2:3306 is the primary; server db1:3306: gone"
        );
        assert_eq!(named("no server answers, server 7 is none"), "no server answers, server 7 is none");
        assert_eq!(named(""), "");
    }
}
