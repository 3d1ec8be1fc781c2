//! The golden table of `sql`: `fixtures/sql/*.toml`, one row a statement, with what is made of it.
//!
//! `BLESS=1 cargo test --test golden` writes the expectations anew; review the diff.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

#[path = "golden/differential.rs"]
mod differential;
#[path = "golden/table.rs"]
mod table;

use std::sync::{Arc, LazyLock};
use std::time::Instant;

use dbproxy::route::{Frontier, Load, Moment, Needs, Policy, SessionView, decide};
use dbproxy::sql::{CharsetFamily, Effect, Facts, Flavor, Hold, Lexis, Why, classify, classify_prefix};
use dbproxy::topology::{Health, Role, ServerId, Topology, Writes};
use proptest::prelude::*;
use table::{Case, Table};

#[test]
fn every_row_of_the_golden_table_holds() {
    let mut tables = Table::all();
    if std::env::var_os("BLESS").is_some() {
        tables.iter_mut().for_each(Table::bless);
        return;
    }
    let wrong: Vec<String> = tables.iter().flat_map(|table| table.cases.iter().filter_map(Case::complaint)).collect();
    assert!(wrong.is_empty(), "{} rows differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// The column is the facts' word; the decision itself must say the same of a session in which nothing happened but a read.
#[test]
fn every_row_goes_where_the_table_says() {
    let replica = ServerId(1);
    let mut topology = Topology::unseen("c".into(), &["a:1".into(), "b:1".into()]);
    topology.writes = Writes::Primary(ServerId(0));
    for (server, role) in topology.servers.iter_mut().zip([Role::Primary, Role::Replica]) {
        let server = Arc::make_mut(server);
        (server.role, server.health) = (role, Health::Up);
    }
    let needs = Needs::default();
    let view = SessionView {
        in_transaction: false,
        autocommit: true,
        pin: None,
        last: Some(replica),
        replica: Some(replica),
        needs: &needs,
        capabilities: 0,
        demand: dbproxy::route::Demand::default(),
        demanded_by: dbproxy::route::Reason::Hint,
    };
    let moment = Moment {
        structure: None,
        verdicts: &dbproxy::sql::Verdicts::small(),
        topology: &topology,
        policy: &Policy::default(),
        now: Instant::now(),
        roll: 0,
        load: &|_| Load::default(),
        positions: &Frontier::default(),
    };
    for case in Table::all().into_iter().flat_map(|table| table.cases) {
        for (_, facts) in case.facts() {
            let route = decide(&facts, &view, &moment).expect("a server for everything");
            let to_replica = ["replica", "last_server"].contains(&table::target(&facts));
            assert_eq!(route.server == replica, to_replica, "{}: {route:?}", case.bytes().escape_ascii());
        }
    }
}

#[test]
fn the_golden_table_is_large_and_shows_every_word() {
    let cases: Vec<Case> = Table::all().into_iter().flat_map(|table| table.cases).collect();
    assert!(cases.len() >= 900, "{} rows", cases.len());
    let facts: Vec<Facts> = cases.iter().flat_map(|case| case.facts()).map(|(_, facts)| facts).collect();
    for effect in Effect::ALL {
        assert!(facts.iter().any(|facts| facts.effect == *effect), "no row is {}", effect.as_str());
    }
    for hold in Hold::ALL {
        assert!(facts.iter().any(|facts| facts.hold == Some(*hold)), "no row holds {}", hold.as_str());
    }
    let not_of_text_alone = [Why::TooLong, Why::ParserObjects, Why::ParserRefuses];
    for why in Why::ALL.iter().filter(|why| !not_of_text_alone.contains(why)) {
        assert!(facts.iter().any(|facts| facts.why == *why), "no row says {}", why.as_str());
    }
}

#[test]
fn the_routing_page_explains_every_word() {
    let page = include_str!("../docs/routing.md");
    let rows = |title: &str| -> Vec<String> {
        let section = page.split_once(title).unwrap_or_else(|| panic!("no section {title:?}")).1;
        let section = section.split("\n## ").next().unwrap_or_default();
        let words = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
        words.map(|(word, _)| word.to_owned()).collect()
    };
    let sorted = |mut words: Vec<String>| {
        words.sort_unstable();
        words
    };
    let words = |all: Vec<&str>| sorted(all.into_iter().map(str::to_owned).collect());
    assert_eq!(sorted(rows("\n## Effects")), words(Effect::ALL.iter().map(|word| word.as_str()).collect()));
    assert_eq!(sorted(rows("\n## Reasons")), words(Why::ALL.iter().map(|word| word.as_str()).collect()));
    assert_eq!(sorted(rows("\n## Holds")), words(Hold::ALL.iter().map(|word| word.as_str()).collect()));
}

#[test]
fn a_read_with_something_unsafe_appended_is_no_read() {
    let tails = [
        " FOR UPDATE",
        " for/**/share",
        " LOCK IN SHARE MODE",
        "; DELETE FROM t",
        ";SELECT 1",
        " INTO @x",
        " INTO OUTFILE '/tmp/x'",
        " /*! FOR UPDATE */",
        " /*M!100100 FOR UPDATE */",
        " UNION SELECT f(1)",
        " , @x := 1",
        " '",
        " /*",
    ];
    for (lexis, sql) in reads() {
        for tail in tails {
            // The row may end in a line comment.
            let longer = [sql.as_slice(), b"\n", tail.as_bytes()].concat();
            let facts = classify(&longer, lexis);
            assert_ne!(facts.effect, Effect::Read, "{}", longer.escape_ascii());
        }
    }
}

#[test]
fn a_prefix_is_never_a_read() {
    for (lexis, sql) in reads() {
        for cut in [sql.len(), sql.len() / 2] {
            for may_be_multi in [false, true] {
                assert_eq!(classify_prefix(&sql[..cut], lexis, may_be_multi).effect, Effect::Unknown);
            }
        }
    }
}

/// The rows that are plain reads.
fn reads() -> Vec<(Lexis, Vec<u8>)> {
    let cases = Table::all().into_iter().flat_map(|table| table.cases);
    let reads: Vec<_> = cases
        .flat_map(|case| {
            case.facts().into_iter().map(move |(lexis, facts)| (lexis, facts, case.bytes())).collect::<Vec<_>>()
        })
        .filter(|(_, facts, _)| facts.effect == Effect::Read)
        .map(|(lexis, _, sql)| (lexis, sql))
        .collect();
    assert!(reads.len() > 100, "only {} reads", reads.len());
    reads
}

fn any_lexis() -> impl Strategy<Value = Lexis> {
    let charset = prop_oneof![
        Just(CharsetFamily::Utf8),
        Just(CharsetFamily::AsciiSafe),
        Just(CharsetFamily::Gbk),
        Just(CharsetFamily::Big5),
        Just(CharsetFamily::Sjis),
        Just(CharsetFamily::Gb18030),
        Just(CharsetFamily::Unknown),
    ];
    (charset, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(charset, no_backslash_escapes, ansi_quotes, my)| {
            let flavor = if my { Flavor::MySql } else { Flavor::MariaDb };
            Lexis { charset, no_backslash_escapes, ansi_quotes, flavor }
        },
    )
}

/// Pieces from which statements are made, the dangerous ones more often than anybody writes them.
fn any_statement() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "SELECT",
            "select",
            "WITH",
            "INSERT",
            "UPDATE",
            "DELETE",
            "SET",
            "FOR",
            "SHARE",
            "INTO",
            "LOCK",
            "FROM",
            "t",
            "a",
            "(",
            ")",
            ",",
            ".",
            ";",
            ":=",
            "=",
            "@x",
            "@@x",
            "@@server_id",
            "'",
            "\"",
            "`",
            "\\",
            "--",
            "-- ",
            "#",
            "\n",
            "/*",
            "*/",
            "/*!",
            "/*+",
            "1",
            "1.5",
            "1e5",
            "0x1F",
            "count",
            "f",
            "get_lock",
            " ",
            "\t",
            "EXPLAIN",
            "SHOW",
            "KILL",
            "CREATE",
            "TEMPORARY",
            "TABLE",
            "NAMES",
            "GLOBAL",
            "AS",
            "VALUES",
            "?",
            "*",
        ])
        .prop_map(|piece| piece.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..3),
        Just(b" ".to_vec()),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// Places between two tokens of a statement without quotes and comments, where a blank or a comment may be put in.
fn gaps(sql: &[u8]) -> Vec<usize> {
    let glued = |byte: &u8| byte.is_ascii_alphanumeric() || b"_$.@:=<>!&|-+".contains(byte) || *byte >= 0x80;
    (1..sql.len()).filter(|at| !(glued(&sql[at - 1]) && glued(&sql[*at]))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn random_bytes_never_panic(sql in prop::collection::vec(any::<u8>(), 0..400), lexis in any_lexis()) {
        let _ = classify(&sql, lexis);
        prop_assert_ne!(classify_prefix(&sql, lexis, false).effect, Effect::Read);
        prop_assert_eq!(classify_prefix(&sql, lexis, true).effect, Effect::Unknown);
    }

    #[test]
    fn pieces_of_statements_never_panic(sql in any_statement(), lexis in any_lexis()) {
        let facts = classify(&sql, lexis);
        prop_assert_eq!(facts.kill.is_some(), facts.effect == Effect::Kill);
        prop_assert_eq!(facts.effect == Effect::Read, facts.why == Why::PlainRead);
        prop_assert!(facts.effect != Effect::Read || facts.hold.is_none(), "a read holds {:?}", facts.hold);
    }

    #[test]
    fn a_comment_between_tokens_never_makes_a_read(
        row in any::<prop::sample::Index>(),
        place in any::<prop::sample::Index>(),
        filler in prop::sample::select(vec![" ", "\n", "\t", "/**/", "/* FROM */", "/*'*/", "-- '\n", "#`\n", "  /**/ "]),
    ) {
        static CASES: LazyLock<Vec<Case>> =
            LazyLock::new(|| Table::all().into_iter().flat_map(|table| table.cases).collect());
        let cases = &*CASES;
        let case = &cases[row.index(cases.len())];
        let sql = case.bytes();
        let quoted = sql.iter().any(|byte| b"'\"`#\\".contains(byte)) || sql.windows(2).any(|two| two == b"/*" || two == b"--");
        let gaps = gaps(&sql);
        prop_assume!(!quoted && !gaps.is_empty());
        let at = gaps[place.index(gaps.len())];
        let longer = [&sql[..at], filler.as_bytes(), &sql[at..]].concat();
        for (lexis, facts) in case.facts() {
            let changed = classify(&longer, lexis);
            prop_assert!(
                facts.effect == Effect::Read || changed.effect != Effect::Read,
                "{} became a read as {}", sql.escape_ascii(), longer.escape_ascii()
            );
        }
    }
}
