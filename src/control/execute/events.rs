//! Scheduled events: which a server has, and whether it runs them.
//!
//! Seen with MySQL 9.7 and MariaDB 10.11: an event that is replicated is stored as `REPLICA_SIDE_DISABLED` (`SLAVESIDE_DISABLED`),
//! also one that the source has as `DISABLED`. A server that is read-only goes on running those that it has as `ENABLED`: MariaDB, and
//! MySQL where `super_read_only` is off, for definers that may write all the same; what they write then only this server has. Under
//! `super_read_only` MySQL runs none, and refuses `ALTER EVENT` to everybody. `ALTER EVENT` makes whoever gives it the definer if it names none,
//! and the session's character set the event's; all else it leaves as it is.

use super::hand::{Hand, StepError};
use crate::control::statement::{Columns, is_on};
use crate::control::tell;

/// Puts the session back to what it is after a login.
const SESSION: &str = "SET SESSION sql_log_bin = 1, SESSION character_set_client = utf8mb4, \
                       SESSION collation_connection = utf8mb4_general_ci";

/// Whether a server runs an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::control) enum Runs {
    /// It does.
    Enabled,
    /// Nobody does.
    Disabled,
    /// Its source does, if anybody.
    Elsewhere,
}

/// One scheduled event of a server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::control) struct Scheduled {
    /// Schema and name, quoted.
    pub(in crate::control) name: String,
    pub(in crate::control) runs: Runs,
    /// User and host, quoted.
    definer: String,
    charset: String,
    collation: String,
    /// Whether the server was read-only at that moment.
    pub(in crate::control) read_only: bool,
}

/// What became of events.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(in crate::control) struct Altered {
    /// Names of those that are as they should be.
    pub(in crate::control) done: Vec<String>,
    /// Names of the others, each with the reason.
    pub(in crate::control) refused: Vec<String>,
}

impl Hand {
    /// The events of this server that the account may see: those of schemas for which it has the right `EVENT`.
    pub(in crate::control) async fn events(&mut self) -> Result<Vec<Scheduled>, StepError> {
        let sql = "SELECT EVENT_SCHEMA, EVENT_NAME, STATUS, DEFINER, CHARACTER_SET_CLIENT, COLLATION_CONNECTION, \
                   @@global.read_only FROM information_schema.EVENTS ORDER BY EVENT_SCHEMA, EVENT_NAME";
        Ok(self.rows("list the events", sql).await?.iter().map(|row| scheduled(Columns(row))).collect())
    }

    /// Whether this server runs events at all.
    pub(in crate::control) async fn schedules(&mut self) -> Result<bool, StepError> {
        Ok(self.text("read event_scheduler", "SELECT @@global.event_scheduler").await? == "ON")
    }

    /// Runs these events from now on. Nothing of it is in the binary log.
    pub(in crate::control) async fn wake_events(&mut self, events: &[&Scheduled]) -> Result<Altered, StepError> {
        let mut altered = Altered::default();
        for event in events {
            let result = self.alter(event, "ENABLE").await;
            altered.note(event, result)?;
        }
        Ok(altered)
    }

    /// Leaves the running of events to whoever this MariaDB server is to replicate from. Nothing of it is in the binary log. What the server
    /// refuses is told, and is no error.
    ///
    /// A MySQL server keeps them: it runs none under `super_read_only`, which would have to be off for a moment to alter them.
    ///
    /// # Errors
    /// The server does not answer.
    pub(super) async fn still_events(&mut self) -> Result<(), StepError> {
        if !self.is_mariadb() {
            return Ok(());
        }
        let events = match self.events().await {
            Ok(events) => events,
            Err(StepError::Refused { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut altered = Altered::default();
        for event in events.iter().filter(|event| event.runs == Runs::Enabled) {
            let result = self.alter(event, "DISABLE ON SLAVE").await;
            altered.note(event, result)?;
        }
        if altered != Altered::default() {
            tell::events_stilled(self.address(), &altered);
        }
        Ok(())
    }

    /// Alters one event, in one round trip: so that the server does all of it, whatever becomes of this process.
    async fn alter(&mut self, event: &Scheduled, to: &str) -> Result<(), StepError> {
        let alter = event.alter(to).map_err(StepError::Unfit)?;
        let sql = format!("{alter}; {SESSION}");
        match self.run("alter an event", &sql).await {
            Err(error @ StepError::Refused { .. }) => {
                // What came after it was not run. A login that keeps its session so must not be used again.
                let broken =
                    |error: StepError| StepError::Broken { doing: "reset the session", cause: error.to_string() };
                self.run("reset the session", SESSION).await.map_err(broken)?;
                Err(error)
            }
            result => result,
        }
    }
}

impl Altered {
    /// Only what says nothing of the connection is the event's own.
    fn note(&mut self, event: &Scheduled, result: Result<(), StepError>) -> Result<(), StepError> {
        match result {
            Ok(()) => self.done.push(event.name.clone()),
            Err(error @ (StepError::Refused { .. } | StepError::Unfit(_))) => {
                self.refused.push(format!("{}: {error}", event.name));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

impl Scheduled {
    /// The statements, or why there are none.
    fn alter(&self, to: &str) -> Result<String, String> {
        let word = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !word(&self.charset) || !word(&self.collation) {
            return Err("its character set is not known".to_owned());
        }
        let Self { name, definer, charset, collation, .. } = self;
        // The text is read in that character set, and it is sent in UTF-8.
        if !(name.is_ascii() && definer.is_ascii() || charset.starts_with("utf8")) {
            return Err(format!("its name or definer can't be written in its character set {charset} here"));
        }
        Ok(format!(
            "SET SESSION sql_log_bin = 0, SESSION character_set_client = {charset}, SESSION collation_connection = {collation}; \
             ALTER DEFINER = {definer} EVENT {name} {to}"
        ))
    }
}

fn scheduled(row: Columns<'_>) -> Scheduled {
    let at = |place| row.at(place).unwrap_or_default();
    let runs = match at(2).as_str() {
        "ENABLED" => Runs::Enabled,
        "SLAVESIDE_DISABLED" | "REPLICA_SIDE_DISABLED" => Runs::Elsewhere,
        _ => Runs::Disabled,
    };
    let definer = at(3);
    let (user, host) = definer.rsplit_once('@').unwrap_or((&definer, "%"));
    Scheduled {
        name: format!("{}.{}", quoted(&at(0)), quoted(&at(1))),
        runs,
        definer: format!("{}@{}", quoted(user), quoted(host)),
        charset: at(4),
        collation: at(5),
        read_only: is_on(&at(6)),
    }
}

/// An identifier that holds anything.
fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

#[cfg(test)]
impl Scheduled {
    /// For tests of what is made of a list.
    pub(in crate::control) fn example(name: &str, runs: Runs) -> Self {
        let (definer, charset, collation) = ("`o``n`@`%`".to_owned(), "latin1".to_owned(), "latin1_bin".to_owned());
        Self { name: name.to_owned(), runs, definer, charset, collation, read_only: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_keeps_its_definer_and_its_character_set() {
        let event = Scheduled::example("`a`.`b`", Runs::Elsewhere);
        assert_eq!(
            event.alter("ENABLE").unwrap(),
            "SET SESSION sql_log_bin = 0, SESSION character_set_client = latin1, SESSION collation_connection = latin1_bin; \
             ALTER DEFINER = `o``n`@`%` EVENT `a`.`b` ENABLE"
        );
        let foreign = Scheduled { name: "`a`.`é`".to_owned(), ..event.clone() };
        assert!(foreign.alter("ENABLE").is_err());
        assert!(Scheduled { charset: "utf8mb3".to_owned(), ..foreign }.alter("ENABLE").is_ok());
        assert!(Scheduled { charset: "x; y".to_owned(), ..event }.alter("ENABLE").is_err());
    }
}
