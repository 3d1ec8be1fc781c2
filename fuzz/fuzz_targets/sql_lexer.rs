//! Statements from clients: no bytes panic, and what is a read cannot be made one thing more and still be a read.
#![no_main]

use dbproxy::sql::{CharsetFamily, Effect, Flavor, Lexis, Why, classify, classify_prefix};
use libfuzzer_sys::fuzz_target;

const CHARSETS: [CharsetFamily; 7] = [
    CharsetFamily::Utf8,
    CharsetFamily::AsciiSafe,
    CharsetFamily::Gbk,
    CharsetFamily::Big5,
    CharsetFamily::Sjis,
    CharsetFamily::Gb18030,
    CharsetFamily::Unknown,
];

fuzz_target!(|input: &[u8]| {
    let Some((&choice, sql)) = input.split_first() else { return };
    let lexis = Lexis {
        charset: CHARSETS[usize::from(choice & 7) % CHARSETS.len()],
        no_backslash_escapes: choice & 8 != 0,
        ansi_quotes: choice & 16 != 0,
        flavor: if choice & 32 == 0 { Flavor::MySql } else { Flavor::MariaDb },
    };
    let facts = classify(sql, lexis);
    assert_eq!(facts.effect == Effect::Read, facts.why == Why::PlainRead);
    assert_eq!(facts.effect == Effect::Kill, facts.kill.is_some());
    assert_ne!(classify_prefix(sql, lexis, choice & 64 != 0).effect, Effect::Read);
    if facts.effect == Effect::Read {
        assert_eq!(facts.hold, None);
        for tail in ["\n FOR UPDATE", "\n;DELETE FROM t", "\n INTO @x", "\n LOCK IN SHARE MODE", "\n /*! */", "\n'"] {
            let longer = [sql, tail.as_bytes()].concat();
            assert_ne!(classify(&longer, lexis).effect, Effect::Read, "{tail:?}");
        }
    }
});
