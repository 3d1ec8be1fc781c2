//! The reference pages say what the program says: `BLESS=1 cargo test --test docs_complete` rewrites their tables.

use dbproxy::config::{Effect, KEYS};
use std::path::{Path, PathBuf};

fn page(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)
}

/// The part of a page between the markers `<!-- NAME -->` and `<!-- /NAME -->` must be `expected`.
#[track_caller]
fn holds(page: &Path, name: &str, expected: &str) {
    let text = std::fs::read_to_string(page).unwrap();
    let (open, close) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let start = text.find(&open).expect("the opening marker") + open.len();
    let end = start + text[start..].find(&close).expect("the closing marker");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(page, format!("{}{expected}{}", &text[..start], &text[end..])).unwrap();
        return;
    }
    assert_eq!(&text[start..end], expected, "{} is not up to date: run with BLESS=1", page.display());
}

#[test]
fn every_key_stands_in_the_configuration_page() {
    let mut table =
        String::from("| key | type | default | ceiling | takes effect | meaning |\n|---|---|---|---|---|---|\n");
    for key in KEYS {
        let (kind, default, ceiling) = key.columns();
        let effect = if key.effect == Effect::Reload { "SIGHUP" } else { "restart" };
        table += &format!("| `{}` | {kind} | {default} | {ceiling} | {effect} | {} |\n", key.name, key.meaning);
    }
    holds(&page("config.md"), "keys", &table);
}
