//! Which tables describe one server.

/// Whether a table of this schema describes one server or one session. The arguments say whether a name is the schema's, and the
/// table's.
pub(super) fn describes_one_server(schema: impl Fn(&str) -> bool, table: impl Fn(&str) -> bool) -> bool {
    if schema("information_schema") {
        return !REPLICATED.iter().any(|name| table(name));
    }
    schema("performance_schema") || schema("mysql") || schema("sys")
}

/// Tables of information_schema that say of a replica what they say of its primary. The others describe one server or one
/// session (PROCESSLIST, INNODB_*, *_STATUS, *_VARIABLES, OPTIMIZER_TRACE, EVENTS, PLUGINS...).
const REPLICATED: [&str; 20] = [
    "tables",
    "columns",
    "statistics",
    "schemata",
    "key_column_usage",
    "table_constraints",
    "referential_constraints",
    "check_constraints",
    "views",
    "routines",
    "parameters",
    "triggers",
    "partitions",
    "character_sets",
    "collations",
    "collation_character_set_applicability",
    "schema_privileges",
    "table_privileges",
    "column_privileges",
    "user_privileges",
];
