//! The words that routing knows: keywords that decide something, and functions by what calling them does.
//!
//! A function is listed as pure only if the product has it built in from MySQL 8.0.21 or MariaDB 10.5 on up to the newest,
//! and the built-in wins over a stored function of the same name. `tests/truth/functions.rs` creates a stored function of every
//! listed name and sees that no way of writing the call reaches it; on MySQL 9.7.4 and MariaDB 10.5.23, 10.11.19 and 11.8.9 none did.

use super::{Flavor, keywords};

/// Keywords that a scan looks at. What is only ever compared in one place is compared by text instead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[rustfmt::skip]
pub(super) enum Key {
    None,
    // First words.
    Select, With, Values, Table, Insert, Replace, Update, Delete, Load, Call, Do, Begin, Start, Commit, Rollback,
    Savepoint, Release, Xa, Use, Kill, Show, Explain, Analyze, Create, Alter, Drop, Truncate, Rename, Import, Flush, Lock,
    Unlock, Backup, Handler, Prepare, Execute, Deallocate, Get, Set, Binlog, Grant, Revoke,
    /// Administration without anything special to it.
    Admin,
    // Words within.
    Recursive, Value, Into, For, Share, As, Procedure, SqlCalcFoundRows, Sequence, Character, From, Join,
    Where, Limit, Match,
}

/// What a word followed by `(` means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Call {
    /// Not listed: a stored function, a loadable function, or one that nobody looked at.
    Unknown,
    /// Grammar, no call: a reserved word.
    Keyword,
    /// Grammar if a query follows, since no function takes a query without parentheses of its own.
    Query,
    /// Grammar right after a closing parenthesis.
    AfterClose,
    /// Grammar right after FROM or JOIN, where no function can stand.
    AfterFrom,
    /// Grammar right after a string: `JSON_TABLE(document, path COLUMNS (...))`.
    AfterText,
    /// A built-in that changes nothing and depends on nothing that belongs to one server.
    Pure,
    /// As [`Call::Pure`], but only with nothing between the name and `(`: else a stored function of that name is called.
    /// <https://dev.mysql.com/doc/refman/8.4/en/function-resolution.html>
    PureTight,
    /// As [`Call::Pure`], but only with at least one argument.
    PureWithArguments,
    /// As [`Call::Pure`], but only with two arguments.
    PureWithTwo,
    /// As [`Call::Pure`], but only if the second argument is a literal without `$`: `$@name` in an XPath reads a user variable.
    PureWithPath,
    /// Takes a user lock.
    UserLock,
    /// Reads what belongs to one server or one connection.
    ServerState,
    /// Waits, writes, reads files, moves a sequence.
    SideEffect,
    /// Reads what the previous statement left.
    Diagnostics,
}

/// What is known of a word.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word {
    name: &'static str,
    pub(super) key: Key,
    pub(super) call: Call,
    flavors: u8,
    /// One of the servers' keywords: in a digest its case does not matter.
    pub(super) keyword: bool,
}

/// A word that nothing is known of.
pub(super) static UNLISTED: Word = Word { name: "", key: Key::None, call: Call::Unknown, flavors: 0, keyword: false };

const MYSQL: u8 = 1;
const MARIADB: u8 = 2;
const BOTH: u8 = 3;

const KEYS: &[(&str, Key, Call)] = &[
    ("select", Key::Select, Call::Keyword),
    ("with", Key::With, Call::Unknown),
    ("values", Key::Values, Call::Keyword),
    ("table", Key::Table, Call::Unknown),
    ("insert", Key::Insert, Call::Pure),
    ("replace", Key::Replace, Call::Pure),
    ("update", Key::Update, Call::Unknown),
    ("delete", Key::Delete, Call::Unknown),
    ("load", Key::Load, Call::Unknown),
    ("call", Key::Call, Call::Unknown),
    ("do", Key::Do, Call::Unknown),
    ("begin", Key::Begin, Call::Unknown),
    ("start", Key::Start, Call::Unknown),
    ("commit", Key::Commit, Call::Unknown),
    ("rollback", Key::Rollback, Call::Unknown),
    ("savepoint", Key::Savepoint, Call::Unknown),
    ("release", Key::Release, Call::Unknown),
    ("xa", Key::Xa, Call::Unknown),
    ("use", Key::Use, Call::Unknown),
    ("kill", Key::Kill, Call::Unknown),
    ("show", Key::Show, Call::Unknown),
    ("explain", Key::Explain, Call::Unknown),
    ("desc", Key::Explain, Call::Unknown),
    ("describe", Key::Explain, Call::Unknown),
    ("analyze", Key::Analyze, Call::Unknown),
    ("create", Key::Create, Call::Unknown),
    ("alter", Key::Alter, Call::Unknown),
    ("drop", Key::Drop, Call::Unknown),
    ("truncate", Key::Truncate, Call::Pure),
    ("rename", Key::Rename, Call::Unknown),
    ("import", Key::Import, Call::Unknown),
    ("flush", Key::Flush, Call::Unknown),
    ("lock", Key::Lock, Call::Unknown),
    ("unlock", Key::Unlock, Call::Unknown),
    ("backup", Key::Backup, Call::Unknown),
    ("handler", Key::Handler, Call::Unknown),
    ("prepare", Key::Prepare, Call::Unknown),
    ("execute", Key::Execute, Call::Unknown),
    ("deallocate", Key::Deallocate, Call::Unknown),
    ("get", Key::Get, Call::Unknown),
    ("set", Key::Set, Call::Unknown),
    ("binlog", Key::Binlog, Call::Unknown),
    ("cache", Key::Admin, Call::Unknown),
    ("change", Key::Admin, Call::Unknown),
    ("check", Key::Admin, Call::Unknown),
    ("checksum", Key::Admin, Call::Unknown),
    ("clone", Key::Admin, Call::Unknown),
    ("grant", Key::Grant, Call::Unknown),
    ("help", Key::Admin, Call::Unknown),
    ("install", Key::Admin, Call::Unknown),
    ("optimize", Key::Admin, Call::Unknown),
    ("purge", Key::Admin, Call::Unknown),
    ("repair", Key::Admin, Call::Unknown),
    ("reset", Key::Admin, Call::Unknown),
    ("resignal", Key::Admin, Call::Unknown),
    ("restart", Key::Admin, Call::Unknown),
    ("revoke", Key::Revoke, Call::Unknown),
    ("shutdown", Key::Admin, Call::Unknown),
    ("signal", Key::Admin, Call::Unknown),
    ("stop", Key::Admin, Call::Unknown),
    ("uninstall", Key::Admin, Call::Unknown),
    ("recursive", Key::Recursive, Call::Unknown),
    ("value", Key::Value, Call::Unknown),
    ("into", Key::Into, Call::Unknown),
    ("for", Key::For, Call::Unknown),
    ("share", Key::Share, Call::Unknown),
    ("as", Key::As, Call::Keyword),
    ("procedure", Key::Procedure, Call::Unknown),
    ("sql_calc_found_rows", Key::SqlCalcFoundRows, Call::Unknown),
    ("nextval", Key::Sequence, Call::SideEffect),
    ("currval", Key::Sequence, Call::Unknown),
    ("lastval", Key::Sequence, Call::SideEffect),
    ("setval", Key::Sequence, Call::SideEffect),
    ("character", Key::Character, Call::Unknown),
    ("from", Key::From, Call::Keyword),
    ("join", Key::Join, Call::Keyword),
    ("where", Key::Where, Call::Keyword),
    ("limit", Key::Limit, Call::Keyword),
    ("match", Key::Match, Call::Keyword),
];

/// Reserved in both products, or with a production of their own that comes before a call.
#[rustfmt::skip]
const KEYWORDS: &[&str] = &[
    "all", "and", "between", "by", "case", "collate", "cross", "dec", "decimal", "distinct", "distinctrow", "div",
    "else", "exists", "force", "group", "having", "ignore", "in", "index", "inner", "interval", "int", "integer",
    "is", "key", "like", "natural", "not", "numeric", "on", "or", "order", "outer", "over",
    "partition", "primary", "regexp", "rlike", "row", "straight_join", "then", "union", "using", "varbinary",
    "varchar", "when", "xor", "binary", "float", "double", "real", "bigint", "smallint", "tinyint",
    "mediumint",
];

#[rustfmt::skip]
const QUERY_KEYWORDS: &[&str] = &[
    "any", "some", "except", "intersect", "lateral",
];

#[rustfmt::skip]
const PURE_BOTH: &[&str] = &[
    "abs", "acos", "addtime", "aes_decrypt", "aes_encrypt", "ascii", "asin", "atan", "atan2", "bin", "bit_count",
    "bit_length", "ceil", "ceiling", "char", "char_length", "character_length", "charset", "coalesce",
    "coercibility", "collation", "compress", "concat", "concat_ws", "conv", "convert", "convert_tz", "cos", "cot",
    "crc32", "current_date", "current_time", "current_timestamp", "current_user", "database", "date",
    "datediff", "day", "dayname", "dayofmonth", "dayofweek", "dayofyear", "degrees", "elt", "exp", "export_set",
    "field", "find_in_set", "floor", "format", "from_base64", "from_days", "from_unixtime",
    "get_format", "greatest", "hex", "hour", "if", "ifnull", "inet6_aton", "inet6_ntoa", "inet_aton", "inet_ntoa", "instr",
    "is_ipv4", "is_ipv4_compat", "is_ipv4_mapped", "is_ipv6", "isnull", "json_array", "json_array_append",
    "json_array_insert", "json_contains", "json_contains_path", "json_depth", "json_extract", "json_insert",
    "json_keys", "json_length", "json_merge", "json_merge_patch", "json_merge_preserve", "json_object", "json_quote",
    "json_remove", "json_replace", "json_search", "json_set", "json_type", "json_unquote", "json_valid", "last_day",
    "lcase", "least", "left", "length", "ln", "localtime", "localtimestamp", "locate", "log", "log10", "log2",
    "lower", "lpad", "ltrim", "make_set", "makedate", "maketime", "microsecond", "minute", "mod", "month",
    "monthname", "name_const", "nullif", "oct", "octet_length", "ord", "period_add", "period_diff", "pi", "pow",
    "power", "quarter", "quote", "radians", "rand", "regexp_instr", "regexp_replace", "regexp_substr", "repeat",
    "reverse", "right", "round", "rpad", "rtrim", "schema", "sec_to_time", "second", "sha2", "sign", "sin",
    "soundex", "space", "sqrt", "str_to_date", "strcmp", "substring_index", "subtime", "tan", "time", "time_format",
    "time_to_sec", "timediff", "timestamp", "timestampadd", "timestampdiff", "to_base64", "to_days", "to_seconds",
    "ucase", "uncompress", "uncompressed_length", "unhex", "unix_timestamp", "upper", "user",
    "utc_date", "utc_time", "utc_timestamp", "uuid", "week", "weekday", "weekofyear", "weight_string", "year",
    "yearweek",
    // Geometry.
    "st_area", "st_asbinary", "st_asgeojson", "st_astext", "st_aswkb", "st_aswkt", "st_buffer", "st_centroid",
    "st_contains", "st_convexhull", "st_crosses", "st_difference", "st_dimension", "st_disjoint", "st_distance",
    "st_distance_sphere", "st_endpoint", "st_envelope", "st_equals", "st_exteriorring", "st_geomcollfromtext",
    "st_geometryn", "st_geometrytype", "st_geomfromgeojson", "st_geomfromtext", "st_geomfromwkb",
    "st_interiorringn", "st_intersection", "st_intersects", "st_isclosed", "st_isempty", "st_issimple", "st_length",
    "st_linefromtext", "st_numgeometries", "st_numinteriorrings", "st_numpoints", "st_overlaps", "st_pointfromtext",
    "st_pointn", "st_polyfromtext", "st_srid", "st_startpoint", "st_symdifference", "st_touches", "st_union",
    "st_within", "st_x", "st_y", "mbrcontains", "mbrdisjoint", "mbrequals", "mbrintersects", "mbroverlaps",
    "mbrtouches", "mbrwithin", "st_geomcollfromwkb", "st_geometrycollectionfromtext", "st_geometryfromtext",
    "st_geometryfromwkb", "st_linefromwkb", "st_linestringfromtext", "st_linestringfromwkb", "st_mlinefromtext",
    "st_mpointfromtext", "st_mpolyfromtext", "st_multilinestringfromtext", "st_multipointfromtext",
    "st_multipolygonfromtext", "st_pointfromwkb", "st_polyfromwkb", "st_polygonfromtext", "st_polygonfromwkb",
];

/// Names that the lexer itself makes functions, if `(` follows at once.
#[rustfmt::skip]
const PURE_TIGHT_BOTH: &[&str] = &[
    "adddate", "bit_and", "bit_or", "bit_xor", "cast", "count", "cume_dist", "curdate", "curtime", "date_add",
    "date_sub", "dense_rank", "extract", "first_value", "group_concat", "json_arrayagg", "json_objectagg", "lag",
    "last_value", "lead", "max", "mid", "min", "now", "nth_value", "ntile", "percent_rank", "position", "rank",
    "row_number", "session_user", "std", "stddev", "stddev_pop", "stddev_samp", "subdate", "substr", "substring",
    "sum", "sysdate", "system_user", "trim", "var_pop", "var_samp", "variance", "avg",
];

#[rustfmt::skip]
const PURE_MYSQL: &[&str] = &[
    "date_format",
    "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon", "any_value", "bin_to_uuid",
    "current_role", "format_bytes", "format_pico_time", "grouping", "gtid_subset", "gtid_subtract", "is_uuid",
    "json_overlaps", "json_pretty", "json_schema_valid", "json_schema_validation_report", "json_storage_free",
    "json_storage_size", "json_value", "random_bytes", "regexp_like", "st_geohash", "st_isvalid",
    "st_latfromgeohash", "st_latitude", "st_longfromgeohash", "st_longitude", "st_makeenvelope",
    "st_pointfromgeohash", "st_simplify", "st_swapxy", "st_transform", "st_validate", "statement_digest",
    "statement_digest_text", "uuid_to_bin", "geomcollection", "geometrycollection", "mbrcoveredby", "mbrcovers",
    "st_buffer_strategy", "st_geomcollfromtxt", "st_geometrycollectionfromwkb", "st_mlinefromwkb",
    "st_mpointfromwkb", "st_mpolyfromwkb", "st_multilinestringfromwkb", "st_multipointfromwkb",
    "st_multipolygonfromwkb", "st_numinteriorring",
];

#[rustfmt::skip]
const PURE_MARIADB: &[&str] = &[
    // From MySQL 9.6 on these three are no built-ins.
    "md5", "sha", "sha1", "column_check", "column_create", "column_exists", "column_get", "column_json",
    "column_list", "decode_histogram", "json_compact", "json_detailed", "json_exists", "json_loose", "json_query",
    "json_value", "nvl", "nvl2", "st_boundary", "st_isring", "st_pointonsurface", "st_relate", "current_role",
    "chr", "column_add", "column_delete", "lengthb", "mbrequal",
    // Geometry by its names without a prefix.
    "area", "asbinary", "astext", "aswkb", "aswkt", "boundary", "buffer", "centroid", "convexhull", "crosses",
    "dimension", "disjoint", "endpoint", "envelope", "equals", "exteriorring", "geomcollfromtext",
    "geomcollfromwkb", "geometrycollectionfromtext", "geometrycollectionfromwkb", "geometryfromtext",
    "geometryfromwkb", "geometryn", "geometrytype", "geomfromtext", "geomfromwkb", "glength", "interiorringn",
    "intersects", "isclosed", "isempty", "isring", "issimple", "linefromtext", "linefromwkb", "linestringfromtext",
    "linestringfromwkb", "mlinefromtext", "mlinefromwkb", "mpointfromtext", "mpointfromwkb", "mpolyfromtext",
    "mpolyfromwkb", "multilinestringfromtext", "multipointfromtext", "multipolygonfromtext", "numgeometries",
    "numinteriorrings", "numpoints", "overlaps", "pointfromtext", "pointfromwkb", "pointn", "pointonsurface",
    "polyfromtext", "polyfromwkb", "polygonfromtext", "polygonfromwkb", "srid", "startpoint", "touches", "within",
    "x", "y",
];

/// Constructors of MariaDB's grammar, which lets a call without arguments through to a stored function.
#[rustfmt::skip]
const PURE_WITH_ARGUMENTS_MARIADB: &[&str] = &[
    "linestring", "polygon", "multipoint", "multilinestring", "multipolygon", "geometrycollection",
];

#[rustfmt::skip]
const PURE_TIGHT_MARIADB: &[&str] = &[
    "median", "percentile_cont", "percentile_disc",
    // Up to 10.5; in 10.11 what stands between does not matter.
    "date_format",
];

#[rustfmt::skip]
const SERVER_STATE_BOTH: &[&str] = &[
    "connection_id", "is_free_lock", "is_used_lock", "last_insert_id", "uuid_short", "version",
];

#[rustfmt::skip]
const SIDE_EFFECT_BOTH: &[&str] = &[
    "benchmark", "default", "load_file", "release_all_locks", "release_lock", "sleep",
];

#[rustfmt::skip]
const SIDE_EFFECT_MYSQL: &[&str] = &[
    "master_pos_wait", "source_pos_wait", "wait_for_executed_gtid_set", "wait_until_sql_thread_after_gtids",
];

#[rustfmt::skip]
const SIDE_EFFECT_MARIADB: &[&str] = &[
    "master_gtid_wait", "master_pos_wait", "wsrep_sync_wait_upto_gtid",
];

#[rustfmt::skip]
const SERVER_STATE_MYSQL: &[&str] = &[
    "icu_version", "ps_current_thread_id", "ps_thread_id", "roles_graphml", "validate_password_strength",
];

#[rustfmt::skip]
const SERVER_STATE_MARIADB: &[&str] = &[
    "binlog_gtid_pos", "wsrep_last_seen_gtid", "wsrep_last_written_gtid",
];

const SIZE: usize = 4096;

/// Start of a word's hash.
pub(super) const HASH_SEED: u32 = 0x811C_9DC5;

/// Takes one byte of a word into its hash; upper and lower case letters alike.
pub(super) const fn hash_step(hash: u32, byte: u8) -> u32 {
    (hash ^ (byte | 0x20) as u32).wrapping_mul(0x0100_0193)
}

const fn slot_of(hash: u32) -> usize {
    (hash.wrapping_mul(0x9E37_79B1) >> 20) as usize
}

const fn hash_of(name: &str) -> u32 {
    let bytes = name.as_bytes();
    let mut hash = HASH_SEED;
    let mut at = 0;
    while at < bytes.len() {
        hash = hash_step(hash, bytes[at]);
        at += 1;
    }
    hash
}

struct Table {
    slots: [Word; SIZE],
}

impl Table {
    /// A word that means something else in each product has two slots.
    const fn put(&mut self, name: &'static str, key: Key, call: Call, flavors: u8) {
        let mut slot = slot_of(hash_of(name));
        while !self.slots[slot].name.is_empty() {
            if same(self.slots[slot].name, name) {
                assert!(self.slots[slot].flavors & flavors == 0, "a word is listed twice");
            }
            slot = (slot + 1) % SIZE;
        }
        self.slots[slot] = Word { name, key, call, flavors, keyword: false };
    }

    /// Marks the word as a keyword, and lists it if it is not.
    const fn mark(&mut self, name: &'static str) {
        let mut slot = slot_of(hash_of(name));
        let mut listed = false;
        while !self.slots[slot].name.is_empty() {
            if same(self.slots[slot].name, name) {
                self.slots[slot].keyword = true;
                listed = true;
            }
            slot = (slot + 1) % SIZE;
        }
        if !listed {
            self.slots[slot] = Word { name, key: Key::None, call: Call::Unknown, flavors: BOTH, keyword: true };
        }
    }

    const fn put_all(&mut self, names: &[&'static str], call: Call, flavors: u8) {
        let mut at = 0;
        while at < names.len() {
            self.put(names[at], Key::None, call, flavors);
            at += 1;
        }
    }
}

const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut at = 0;
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    a.len() == b.len() && at == a.len()
}

static TABLE: Table = {
    const EMPTY: Word = Word { name: "", key: Key::None, call: Call::Unknown, flavors: 0, keyword: false };
    let mut table = Table { slots: [EMPTY; SIZE] };
    let mut at = 0;
    while at < KEYS.len() {
        table.put(KEYS[at].0, KEYS[at].1, KEYS[at].2, BOTH);
        at += 1;
    }
    table.put_all(KEYWORDS, Call::Keyword, BOTH);
    table.put_all(QUERY_KEYWORDS, Call::Query, BOTH);
    table.put("against", Key::None, Call::AfterClose, BOTH);
    table.put("json_table", Key::None, Call::Keyword, MYSQL);
    table.put("json_table", Key::None, Call::AfterFrom, MARIADB);
    table.put("columns", Key::None, Call::AfterText, BOTH);
    table.put_all(PURE_BOTH, Call::Pure, BOTH);
    table.put_all(PURE_TIGHT_BOTH, Call::PureTight, BOTH);
    table.put_all(PURE_MYSQL, Call::Pure, MYSQL);
    table.put_all(PURE_MARIADB, Call::Pure, MARIADB);
    table.put_all(PURE_TIGHT_MARIADB, Call::PureTight, MARIADB);
    table.put_all(PURE_WITH_ARGUMENTS_MARIADB, Call::PureWithArguments, MARIADB);
    table.put("point", Key::None, Call::PureWithTwo, MARIADB);
    table.put("extractvalue", Key::None, Call::PureWithPath, BOTH);
    table.put("updatexml", Key::None, Call::PureWithPath, BOTH);
    table.put("get_lock", Key::None, Call::UserLock, BOTH);
    table.put("found_rows", Key::None, Call::Diagnostics, BOTH);
    table.put("row_count", Key::None, Call::Diagnostics, BOTH);
    table.put_all(SERVER_STATE_BOTH, Call::ServerState, BOTH);
    table.put_all(SERVER_STATE_MYSQL, Call::ServerState, MYSQL);
    table.put_all(SERVER_STATE_MARIADB, Call::ServerState, MARIADB);
    table.put_all(SIDE_EFFECT_BOTH, Call::SideEffect, BOTH);
    table.put_all(SIDE_EFFECT_MYSQL, Call::SideEffect, MYSQL);
    table.put_all(SIDE_EFFECT_MARIADB, Call::SideEffect, MARIADB);
    let mut at = 0;
    while at < keywords::KEYWORDS.len() {
        table.mark(keywords::KEYWORDS[at]);
        at += 1;
    }
    table
};

/// What is known of a word in that product.
pub(super) fn named(name: &str, flavor: Flavor) -> &'static Word {
    find(hash_of(name), name.as_bytes(), flavor)
}

/// What is known of a word in that product, by its hash and its bytes in whatever case.
pub(super) fn find(hash: u32, text: &[u8], flavor: Flavor) -> &'static Word {
    let flavor = match flavor {
        Flavor::MySql => MYSQL,
        Flavor::MariaDb => MARIADB,
    };
    let mut slot = slot_of(hash);
    loop {
        let word = &TABLE.slots[slot % SIZE];
        if word.name.is_empty() {
            return &UNLISTED;
        }
        if word.flavors & flavor != 0 && word.name.as_bytes().eq_ignore_ascii_case(text) {
            return word;
        }
        slot += 1;
    }
}
