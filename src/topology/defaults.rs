//! What a server gives to its new sessions: its global values of those variables that belong to a session.

/// The variables that decide what a statement means or answers, in the order in which they are set: `max_join_size` sets
/// `sql_big_selects`. Left out are limits of time and memory, which may differ between servers on purpose, and variables that not
/// every account may set. Not every server has all of them.
const NAMES: &[&str] = &[
    "sql_mode",
    "old_mode",
    "time_zone",
    "transaction_isolation",
    "transaction_read_only",
    "tx_isolation",
    "tx_read_only",
    "lc_time_names",
    "lc_messages",
    "group_concat_max_len",
    "div_precision_increment",
    "default_week_format",
    "sql_select_limit",
    "max_join_size",
    "sql_big_selects",
    "sql_safe_updates",
    "sql_auto_is_null",
    "foreign_key_checks",
    "unique_checks",
    "check_constraint_checks",
    "max_sort_length",
    "sql_notes",
    "note_verbosity",
    "sql_warnings",
    "block_encryption_mode",
    "explicit_defaults_for_timestamp",
    "default_storage_engine",
    "default_tmp_storage_engine",
    "character_set_server",
    "collation_server",
    "default_collation_for_utf8mb4",
    "character_set_collations",
    "completion_type",
    "updatable_views_with_limit",
    "sql_quote_show_create",
    "windowing_use_high_precision",
    "cte_max_recursion_depth",
    "max_recursive_iterations",
    "standard_compliant_cte",
    "default_regex_flags",
    "end_markers_in_json",
    "show_create_table_verbosity",
    "print_identified_with_as_hex",
    "information_schema_stats_expiry",
    "show_gipk_in_create_table_and_information_schema",
    "system_versioning_alter_history",
    "sql_if_exists",
];

/// Read as well, and dealt with on their own: the status flags tell `autocommit`, a login has the client's character set, and
/// `init_connect` is a statement.
const OTHERS: &[&str] =
    &["autocommit", "init_connect", "character_set_client", "character_set_results", "collation_connection"];

/// What new sessions of a server begin with, as last seen. Empty when it was not.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Defaults(Vec<(&'static str, Box<str>)>);

impl Defaults {
    /// Every name that is of interest, in the order in which values are set.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMES.iter().chain(OTHERS).copied()
    }

    /// Of these values; names that are of no interest are left out.
    #[must_use]
    pub fn of<'a>(value: impl Fn(&str) -> Option<String> + 'a) -> Self {
        Self(Self::names().filter_map(|name| Some((name, value(name)?.into()))).collect())
    }

    /// The value, as a server writes it; `None` if the server has no such variable, or it is NULL.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| &**value)
    }

    /// Whether it is switched on.
    #[must_use]
    pub fn is_on(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value == "1" || value.eq_ignore_ascii_case("ON"))
    }

    /// Whether `sql_mode` has this mode; `None` when `sql_mode` is not known.
    #[must_use]
    pub fn has_mode(&self, mode: &str) -> Option<bool> {
        self.get("sql_mode").map(|modes| modes.split(',').any(|one| one == mode))
    }

    /// Whether each login of an ordinary account runs a statement there, which may set anything.
    #[must_use]
    pub fn runs_init_connect(&self) -> bool {
        self.get("init_connect").is_some_and(|statement| !statement.trim().is_empty())
    }

    /// The values that a new session of another server must be given to have what one of this server has, or, where it is not
    /// known what that other one has, all of them.
    pub fn beyond<'a>(&'a self, other: Option<&'a Self>) -> impl Iterator<Item = (&'static str, &'a str)> {
        let differs = move |name: &str, value: &str| other.is_none_or(|other| other.get(name) != Some(value));
        let changed = move |name: &str| self.get(name).is_some_and(|value| differs(name, value));
        self.0
            .iter()
            .filter(|(name, _)| NAMES.contains(name))
            .filter(move |(name, value)| {
                differs(name, value) || (*name == "sql_big_selects" && changed("max_join_size"))
            })
            .map(|(name, value)| (*name, &**value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[(&str, &str)]) -> Defaults {
        Defaults::of(|name| values.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn only_what_differs_is_given() {
        let here = of(&[("sql_mode", "ANSI"), ("time_zone", "SYSTEM"), ("autocommit", "1")]);
        let there = of(&[("sql_mode", ""), ("time_zone", "SYSTEM"), ("autocommit", "0")]);
        assert_eq!(here.beyond(Some(&there)).collect::<Vec<_>>(), [("sql_mode", "ANSI")]);
        assert_eq!(here.beyond(Some(&here)).count(), 0);
        assert_eq!(here.beyond(None).count(), 2);
        assert_eq!(here.beyond(Some(&Defaults::default())).count(), 2);
    }

    #[test]
    fn a_join_size_brings_the_switch_along_that_it_changes() {
        let here = of(&[("max_join_size", "7"), ("sql_big_selects", "1")]);
        let there = of(&[("max_join_size", "8"), ("sql_big_selects", "1")]);
        let given: Vec<_> = here.beyond(Some(&there)).collect();
        assert_eq!(given, [("max_join_size", "7"), ("sql_big_selects", "1")]);
    }

    #[test]
    fn modes_are_whole_words_and_nothing_is_known_of_an_unseen_server() {
        let here = of(&[("sql_mode", "REAL_AS_FLOAT,ANSI_QUOTES"), ("init_connect", "  ")]);
        assert_eq!((here.has_mode("ANSI_QUOTES"), here.has_mode("ANSI")), (Some(true), Some(false)));
        assert!(!here.runs_init_connect());
        assert!(of(&[("init_connect", "SET NAMES gbk")]).runs_init_connect());
        assert_eq!(Defaults::default().has_mode("ANSI_QUOTES"), None);
    }
}
