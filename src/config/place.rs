//! Where in the text something stands, for messages.

/// The line of a byte offset, counted from 1.
pub(super) fn line(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset).unwrap_or(text.as_bytes());
    memchr::memchr_iter(b'\n', before).count() + 1
}

/// The full name of the key that stands on the line of a byte offset, as far as the text shows it: `section.key`. Good
/// enough for a text that is no TOML, where nothing better is known.
pub(super) fn key(text: &str, offset: usize) -> String {
    let mut section = String::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let end = start + line.len();
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[') {
            let array = header.starts_with('[');
            let name = header.trim_start_matches('[').split(']').next().unwrap_or_default().trim();
            section = if array { format!("{name}[]") } else { name.to_owned() };
        }
        if offset < end || end == text.len() {
            let key = match line.split_once('=') {
                Some((key, _)) if !line.starts_with(['[', '#']) => key.trim(),
                _ => "",
            };
            return [section.as_str(), key]
                .iter()
                .filter(|part| !part.is_empty())
                .copied()
                .collect::<Vec<_>>()
                .join(".");
        }
        start = end;
    }
    section
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_named_with_its_section() {
        let text = "data_dir = 1\n[listen]\naddress = 2\n[[user]]\nname = 3";
        for (needle, name, at) in
            [("1", "data_dir", 1), ("[listen", "listen", 2), ("2", "listen.address", 3), ("3", "user[].name", 5)]
        {
            let offset = text.find(needle).unwrap_or_default();
            assert_eq!((key(text, offset).as_str(), line(text, offset)), (name, at));
        }
        assert_eq!(key("", 0), "");
        assert_eq!(line(text, 10_000), 5);
    }
}
