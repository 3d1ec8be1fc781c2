//! Lexer against parser: what the lexer proves to be a plain read, the parser has nothing against, neither as it stands nor
//! without its literals. And whatever is taken apart: nothing panics, and the digest tells nothing of literals' length.
#![no_main]

use std::hash::DefaultHasher;

use dbproxy::sql::{CharsetFamily, Effect, Flavor, Lexis, Tables, Verdict, classify, digest_key, digest_text, objection_to, structure};
use libfuzzer_sys::fuzz_target;

/// The parser's input is bounded, but this is not the thread with the large stack.
const LENGTH_MAX: usize = 2048;

fuzz_target!(|input: &[u8]| {
    let Some((&choice, sql)) = input.split_first() else { return };
    if sql.len() > LENGTH_MAX {
        return;
    }
    // The parser knows neither sql_mode nor character sets.
    let lexis = Lexis {
        charset: CharsetFamily::Utf8,
        no_backslash_escapes: false,
        ansi_quotes: false,
        flavor: if choice & 1 == 0 { Flavor::MySql } else { Flavor::MariaDb },
    };
    let facts = classify(sql, lexis);
    let structure = structure(sql, lexis);
    let key = digest_key(sql, lexis, DefaultHasher::new());
    assert_eq!(key.is_some(), digest_text(sql, lexis).is_some());
    assert_eq!(key.is_some(), structure.digest.is_some());
    // FOR BROWSE, XML and JSON are clauses of another product, which the parser takes for locks; see fixtures/sql/reads.toml.
    let lower = sql.to_ascii_lowercase();
    let foreign = [&b"browse"[..], b"xml", b"json"].iter().any(|word| lower.windows(word.len()).any(|seen| seen == *word));
    if facts.effect != Effect::Read || foreign {
        return;
    }
    assert!(key.is_some(), "a read has a digest");
    assert!(!matches!(structure.verdict, Some(Verdict::Objects(_))), "{:?}", structure.verdict);
    if let Tables::Known(tables) = &structure.tables {
        assert!(tables.iter().all(|used| !used.written), "a read writes: {tables:?}");
    }
    if let Ok(text) = std::str::from_utf8(sql) {
        assert_eq!(objection_to(text, lexis), None);
    }
});
