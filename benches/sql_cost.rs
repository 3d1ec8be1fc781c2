//! Runs one step of the SQL room on one statement a number of times; `scripts/sql-cost.sh` counts the instructions.
//!
//! `sql_cost STEP STATEMENT TIMES`, or without arguments (as `cargo bench` calls it) once over everything.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

use std::hash::DefaultHasher;
use std::hint::black_box;
use std::sync::LazyLock;

use dbproxy::sql::{
    CharsetFamily, Flavor, Lexis, Verdict, Verdicts, checked, classify, digest_key, digest_text, hints, structure,
};

const LEXIS: Lexis =
    Lexis { charset: CharsetFamily::Utf8, no_backslash_escapes: false, ansi_quotes: false, flavor: Flavor::MySql };

type Step = (&'static str, fn(&[u8]));

/// A table in which the verdicts on all statements of this program are.
static VERDICTS: LazyLock<Verdicts> = LazyLock::new(|| {
    let verdicts = Verdicts::new();
    for name in STATEMENTS {
        if let Some(pending) = checked(statement(name).as_bytes(), LEXIS, &verdicts).pending {
            verdicts.record(pending.fingerprint, Verdict::Agrees);
        }
    }
    verdicts
});

const STEPS: [Step; 6] = [
    ("checked", |sql| {
        black_box(checked(black_box(sql), LEXIS, &VERDICTS));
    }),
    ("classify", |sql| {
        black_box(classify(black_box(sql), LEXIS));
    }),
    ("hints", |sql| {
        black_box(hints(black_box(sql)));
    }),
    ("digest_key", |sql| {
        black_box(digest_key(black_box(sql), LEXIS, DefaultHasher::new()));
    }),
    ("digest_text", |sql| {
        black_box(digest_text(black_box(sql), LEXIS));
    }),
    ("structure", |sql| {
        black_box(structure(black_box(sql), LEXIS));
    }),
];

/// What the design was measured with: a point select, an update, an insert of one row and of a thousand, an ORM's join, a SET.
fn statement(name: &str) -> String {
    match name {
        "point_select" => "SELECT c FROM sbtest1 WHERE id=50123".to_owned(),
        "update" => "UPDATE sbtest1 SET k=k+1 WHERE id=50123".to_owned(),
        "insert" => format!(
            "INSERT INTO sbtest1 (id, k, c, pad) VALUES (0, 49929, '{}', '{}')",
            "8".repeat(120),
            "2".repeat(59)
        ),
        "orm_join" => {
            let columns: Vec<String> = (1..=20)
                .map(|n| format!("`users_table_a`.`column_number_{n}` AS `users_table_a_column_{n}`"))
                .collect();
            format!(
                "SELECT {} FROM `users_table_a` INNER JOIN `orders` ON `users_table_a`.`id` = `orders`.`user_id` \
                 WHERE `users_table_a`.`id` = 17 AND `orders`.`state` = 'open' ORDER BY `orders`.`id` DESC LIMIT 21",
                columns.join(", ")
            )
        }
        "insert_1000" => {
            let rows: Vec<String> = (0..1000)
                .map(|n| format!("({n}, {}, 'some name {n}', '{}', NULL, 1.5)", n * 7, "x".repeat(60)))
                .collect();
            format!("INSERT INTO t (a, b, c, d, e, f) VALUES {}", rows.join(", "))
        }
        "set_names" => "SET NAMES utf8mb4".to_owned(),
        "hinted" => "/* dbproxy: replica, max_lag=2s */ SELECT c FROM sbtest1 WHERE id=50123".to_owned(),
        other => panic!("no statement {other}"),
    }
}

const STATEMENTS: [&str; 7] = ["point_select", "update", "insert", "orm_join", "insert_1000", "set_names", "hinted"];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    if let [step, name, times] = arguments.as_slice() {
        let (_, run) = STEPS.into_iter().find(|(name, _)| name == step).unwrap_or_else(|| panic!("no step {step}"));
        let sql = statement(name);
        let times: u32 = times.parse().expect("how often");
        (0..times).for_each(|_| run(sql.as_bytes()));
        return;
    }
    for (step, run) in STEPS {
        for name in STATEMENTS {
            run(statement(name).as_bytes());
            println!("{step} {name}");
        }
    }
}
