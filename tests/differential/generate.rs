//! Random scripts. A session has a few themes, so that what it does hangs together and not every session is soon bound to
//! the primary by something that one of thirty statements did.

use super::script::{Act, Lag, Script, Step, Value, bytes};
use super::support::Flavor;
use super::words;
use dbproxy::wire::{Capabilities, Expect};

/// Both schemas as a script finds them.
pub const SCHEMA: &[&str] = &[
    "DROP DATABASE IF EXISTS dif_q",
    "DROP DATABASE IF EXISTS dif_q_two",
    "CREATE DATABASE dif_q",
    "CREATE DATABASE dif_q_two",
    "CREATE TABLE dif_q.t (id INT PRIMARY KEY AUTO_INCREMENT, a INT, b VARCHAR(12), d DECIMAL(8,2) DEFAULT 1.5, KEY (a))",
    "CREATE TABLE dif_q.u (id INT PRIMARY KEY, a INT NOT NULL, b TEXT) CHARACTER SET latin1",
    "CREATE TABLE dif_q.m (id INT PRIMARY KEY AUTO_INCREMENT, a INT, b VARCHAR(12)) ENGINE=MyISAM",
    "CREATE TABLE dif_q_two.t (id INT PRIMARY KEY AUTO_INCREMENT, a INT, b VARCHAR(12), other INT)",
    "CREATE VIEW dif_q.v AS SELECT id, a, b FROM dif_q.t WHERE id < 5",
    "INSERT INTO dif_q.t (id, a, b) VALUES (1, 1, 'one'), (2, 2, NULL), (3, 3, ''), (4, 4, 'Four')",
    "INSERT INTO dif_q.u VALUES (1, 1, 'uno'), (2, 2, 'dos')",
    "INSERT INTO dif_q.m VALUES (1, 10, 'm'), (2, 20, 'n')",
    "INSERT INTO dif_q_two.t VALUES (1, 100, 'second', 7), (2, 200, 'schema', 8)",
    "CREATE PROCEDURE dif_q.results(n INT) BEGIN SELECT n; SELECT id, a FROM t WHERE id = n; SELECT n + 1 AS more; END",
    "CREATE PROCEDURE dif_q.writes(n INT) BEGIN INSERT INTO t (a, b) VALUES (n, 'proc'); SELECT LAST_INSERT_ID() > 0; END",
    "CREATE PROCEDURE dif_q.starts(n INT) BEGIN START TRANSACTION; INSERT INTO t (a) VALUES (n); END",
    "CREATE PROCEDURE dif_q.fails(n INT) BEGIN SELECT n; SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'on purpose'; END",
    "CREATE PROCEDURE dif_q.sets(n INT) BEGIN SET @a = n; SET SESSION sql_mode = ''; CREATE TEMPORARY TABLE IF NOT EXISTS tmp (a INT); END",
    "CREATE PROCEDURE dif_q.outs(IN n INT, OUT o INT) SET o = n * 2",
    "CREATE FUNCTION dif_q.twice(n INT) RETURNS INT DETERMINISTIC NO SQL RETURN n * 2",
    "CREATE FUNCTION dif_q.put(n INT) RETURNS INT DETERMINISTIC MODIFIES SQL DATA BEGIN INSERT INTO t (a, b) VALUES (n, 'func'); RETURN n; END",
];

/// SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() >> 11) as usize % n
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn of<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len())]
    }
}

/// Slots for prepared statements.
const SLOTS: usize = 4;

/// What is prepared there.
#[derive(Clone, Copy)]
struct Slot {
    params: usize,
    /// The types were sent.
    typed: bool,
    /// It is executed with a cursor. MySQL 9.7 answers an execute without one, behind one with one, with definitions and an OK
    /// where an EOF belongs: no client can read that.
    cursor: bool,
    /// Its first parameter comes as long data. MariaDB 10.11 answers with bytes of its own memory when that follows an int.
    long: bool,
}

struct Generator {
    random: Random,
    flavor: Flavor,
    slots: [Option<Slot>; SLOTS],
    themes: Vec<&'static words::Theme>,
    capabilities: Capabilities,
}

/// The script of a seed.
pub fn script(seed: u64, flavor: Flavor, sessions: usize, acts: usize) -> Script {
    let mut generator = Generator {
        random: Random(seed),
        flavor,
        slots: [None; SLOTS],
        themes: Vec::new(),
        capabilities: Capabilities::default(),
    };
    let lag = [Lag::None, Lag::None, Lag::One, Lag::Both][generator.random.below(4)];
    let mut steps = Vec::new();
    for _ in 0..sessions {
        steps.push(Step::of(generator.connect()));
        for _ in 0..acts {
            generator.act(&mut steps);
        }
    }
    Script { flavor: None, lag, steps }
}

impl Generator {
    fn connect(&mut self) -> Act {
        self.slots = [None; SLOTS];
        let themes = self.random.below(4);
        self.themes = (0..themes).map(|_| self.theme()).collect();
        let optional = [
            Capabilities::DEPRECATE_EOF,
            Capabilities::DEPRECATE_EOF,
            Capabilities::SESSION_TRACK,
            Capabilities::MULTI_STATEMENTS,
            Capabilities::QUERY_ATTRIBUTES,
        ];
        let chosen = optional.into_iter().filter(|_| self.random.one_in(2));
        self.capabilities = chosen.fold(Capabilities::default(), |all, flag| all | flag);
        // utf8mb4_general_ci, latin1_swedish_ci, utf8mb3_general_ci, gbk_chinese_ci: with the default one, as definitions are
        // described with the collation of the login until the character set of results is set.
        let collation = [45, 45, 8, 33, 28][self.random.below(5)];
        Act::Connect { capabilities: self.capabilities, collation }
    }

    fn theme(&mut self) -> &'static words::Theme {
        let fits = |theme: &&words::Theme| theme.flavor.is_none_or(|flavor| flavor == self.flavor);
        let all: Vec<_> = words::THEMES.iter().filter(fits).collect();
        all[self.random.below(all.len())]
    }

    fn act(&mut self, steps: &mut Vec<Step>) {
        let together = self.random.one_in(12);
        let act = match self.random.below(100) {
            0..25 => self.query(words::READS),
            25..38 => self.query(words::WRITES),
            38 => {
                let rows = self.query(words::ROWS);
                steps.push(Step { together, act: rows });
                Act::Query(b"SELECT FOUND_ROWS()".to_vec())
            }
            39..43 => {
                // MariaDB keeps the warnings through statements that use no table, wherever the proxy runs those.
                let asked_about = self.query(words::DIAGNOSED);
                steps.push(Step { together, act: asked_about });
                self.query(words::DIAGNOSTICS)
            }
            47..70 if !self.themes.is_empty() => {
                let theme = self.themes[self.random.below(self.themes.len())];
                self.query(theme.statements)
            }
            70..90 => return self.prepared(steps),
            90..93 => {
                // What these leave of the statement before is a matter of each product and command.
                steps.push(Step::of(self.command()));
                self.query(words::CLEARING)
            }
            93..95 if self.capabilities.has(Capabilities::MULTI_STATEMENTS) => self.several(),
            95 => self.query(words::BIG),
            _ => self.query(words::READS),
        };
        // Behind a request for a file the file is all that a client may send.
        let asks = matches!(&act, Act::Query(sql) if sql.windows(4).any(|word| word == b"LOAD"));
        steps.push(Step { together: together && !asks, act });
    }

    fn query(&mut self, statements: &[&str]) -> Act {
        Act::Query(self.statement(statements))
    }

    fn several(&mut self) -> Act {
        let count = 2 + self.random.below(3);
        let parts: Vec<_> = (0..count)
            .map(|at| {
                // The first one would ask about a statement that may have run on a replica.
                let from = if at == 0 {
                    words::READS
                } else {
                    [words::READS, words::READS, words::WRITES, words::DIAGNOSTICS, words::TRANSACTIONS]
                        [self.random.below(5)]
                };
                self.statement(from)
            })
            .collect();
        Act::Query(parts.join(&b"; "[..]))
    }

    fn statement(&mut self, statements: &[&str]) -> Vec<u8> {
        let template = self.random.of(statements);
        self.filled(template)
    }

    /// Puts something in place of each `$x`.
    fn filled(&mut self, template: &str) -> Vec<u8> {
        let mut text = Vec::new();
        let mut rest = template.as_bytes();
        while let Some(at) = rest.iter().position(|byte| *byte == b'$') {
            text.extend_from_slice(&rest[..at]);
            match rest[at + 1] {
                b'i' => text.extend_from_slice(self.random.below(7).to_string().as_bytes()),
                b'n' => text.extend_from_slice((1 + self.random.below(9)).to_string().as_bytes()),
                kind => match words::of(kind) {
                    Some(words) => {
                        let word = self.random.of(words);
                        text.extend(bytes(&self.filled(word)));
                    }
                    None => text.extend_from_slice(&[b'$', kind]),
                },
            }
            rest = &rest[at + 2..];
        }
        text.extend_from_slice(rest);
        text
    }

    fn prepared(&mut self, steps: &mut Vec<Step>) {
        let slot = self.random.below(SLOTS);
        let Some(Slot { params, typed, cursor, long }) = self.slots[slot] else {
            let sql = self.statement(words::PREPARED);
            let params = sql.iter().filter(|byte| **byte == b'?').count();
            let cursor = self.random.one_in(4);
            let long = params > 0 && self.random.one_in(5);
            self.slots[slot] = Some(Slot { params, typed: false, cursor, long });
            steps.push(Step::of(Act::Prepare { slot, sql }));
            // What is left of the warnings before it depends on where it was prepared.
            let cleared = self.query(words::CLEARING);
            return steps.push(Step::of(cleared));
        };
        let act = match self.random.below(20) {
            0..12 => {
                if long {
                    for _ in 0..1 + self.random.below(2) {
                        let bytes = self.random.of(words::LONG).as_bytes().to_vec();
                        steps.push(Step::of(Act::LongData { slot, parameter: 0, bytes }));
                    }
                }
                let typed = !typed || long || self.random.one_in(3);
                self.slots[slot] = Some(Slot { params, typed: true, cursor, long });
                Act::Execute { slot, cursor, typed, values: self.values(params, long) }
            }
            12..15 => {
                steps.push(Step::of(Act::Fetch { slot, rows: 1 + self.random.below(4) as u32 }));
                self.query(words::CLEARING)
            }
            15..17 => {
                steps.push(Step::of(Act::Reset { slot }));
                self.query(words::CLEARING)
            }
            17..19 => {
                self.slots[slot] = None;
                Act::Close { slot }
            }
            // Left over.
            _ if long => Act::LongData { slot, parameter: 0, bytes: b"6".to_vec() },
            _ => Act::Reset { slot },
        };
        steps.push(Step::of(act));
    }

    /// Without types the values are as they were typed before, and of that nothing is known but that ints were: so all are.
    fn values(&mut self, params: usize, long: bool) -> Vec<Value> {
        (0..params)
            .map(|at| match self.random.below(8) {
                _ if long && at == 0 => Value::Long,
                0 => Value::Null,
                _ => Value::Int(self.random.below(6) as i32),
            })
            .collect()
    }

    fn command(&mut self) -> Act {
        let one = |payload: &[u8]| Act::Raw { expect: Expect::OnePacket, payload: payload.to_vec() };
        match self.random.below(13) {
            0..3 => one(b"\x02dif_q"),
            3 | 4 => one(b"\x02dif_q_two"),
            5 => one(b"\x02missing"),
            6 | 7 => one(&[0x0e]),
            8 => {
                self.slots = [None; SLOTS];
                one(&[0x1f])
            }
            9 => Act::Raw { expect: Expect::Rows, payload: b"\x04t\0".to_vec() },
            10 => one(&[0x1b, 0, 0]),
            11 => one(&[0x1b, 1, 0]),
            _ => {
                self.slots = [None; SLOTS];
                let schema = ["dif_q", "dif_q_two", ""][self.random.below(3)].to_owned();
                Act::ChangeUser { schema }
            }
        }
    }
}
