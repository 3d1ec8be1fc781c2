//! Admin statements that do something, or ask the control plane: `SWITCHOVER TO 'db2:3306'`, `WHY`, ...

use super::statement::{Token, tokens};
use crate::control::Ask;
use crate::failover::{Command, Force, MaintenanceState, RejoinErrant};
use crate::topology::{ServerId, Topology};

/// The syntax of the statements.
pub(super) const USAGE: &str = "SWITCHOVER [TO 'server'] [DRY RUN], FAILOVER [TO 'server'] [DRY RUN | FORCE], REJOIN 'server' [CLONE], \
     PAUSE, RESUME, ACKNOWLEDGE, DRAIN 'server', MAINTENANCE 'server' ON|OFF, WHY, EVENTS, each with FORMAT JSON; \
     a server is named as in cluster.servers";

/// How the answer is to look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    /// Rows for people.
    Rows,
    /// One value, for programs.
    Json,
}

/// Such a statement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Action {
    pub(super) ask: Ask,
    pub(super) form: Form,
}

/// Parses one. `None`: it is not such a statement; an error: it is, and is malformed.
pub(super) fn parse(text: &str, topology: &Topology) -> Option<Result<Action, String>> {
    let tokens = tokens(text)?;
    let mut words = Words { rest: &tokens, topology };
    let verb = words.word()?;
    let verbs =
        ["switchover", "failover", "rejoin", "pause", "resume", "acknowledge", "drain", "maintenance", "why", "events"];
    let show = verb == "show" && matches!(words.peek().as_deref(), Some("why" | "events"));
    let verb = if show { words.word()? } else { verb };
    verbs.contains(&verb.as_str()).then(|| words.action(&verb))
}

struct Words<'a> {
    rest: &'a [Token],
    topology: &'a Topology,
}

impl Words<'_> {
    fn peek(&self) -> Option<String> {
        match self.rest.first() {
            Some(Token::Word(word)) => Some(word.to_ascii_lowercase()),
            Some(Token::Text(_) | Token::Sign(_)) | None => None,
        }
    }

    fn word(&mut self) -> Option<String> {
        let word = self.peek()?;
        self.rest = &self.rest[1..];
        Some(word)
    }

    fn take(&mut self, wanted: &str) -> bool {
        let is = self.peek().as_deref() == Some(wanted);
        if is {
            self.rest = &self.rest[1..];
        }
        is
    }

    /// `'host:port'`, as it is configured.
    fn server(&mut self) -> Result<ServerId, String> {
        let Some((Token::Text(name), rest)) = self.rest.split_first() else {
            return Err(format!("a server in quotes is missing: {USAGE}"));
        };
        self.rest = rest;
        let found = self.topology.servers.iter().find(|server| server.address.eq_ignore_ascii_case(name));
        let known = || self.topology.servers.iter().map(|server| &*server.address).collect::<Vec<_>>().join(", ");
        found.map(|server| server.id).ok_or_else(|| format!("there is no server {name}; there are {}", known()))
    }

    fn action(mut self, verb: &str) -> Result<Action, String> {
        let ask = self.ask(verb)?;
        let form = match (self.take("format"), self.word().as_deref()) {
            (false, None) => Form::Rows,
            (true, Some("json")) => Form::Json,
            _ => return Err(format!("not a statement of the admin interface: {USAGE}")),
        };
        if self.rest.is_empty() { Ok(Action { ask, form }) } else { Err(format!("too many words: {USAGE}")) }
    }

    fn ask(&mut self, verb: &str) -> Result<Ask, String> {
        let command = match verb {
            "why" => return Ok(Ask::Why),
            "events" => return Ok(Ask::Events),
            "switchover" => Command::Switchover { to: self.to()? },
            "failover" => {
                let to = self.to()?;
                Command::Failover { to, force: if self.take("force") { Force::Yes } else { Force::No } }
            }
            "rejoin" => {
                let server = self.server()?;
                let errant = if self.take("clone") { RejoinErrant::Clone } else { RejoinErrant::Refuse };
                Command::Rejoin { server, errant }
            }
            "pause" => Command::Pause,
            "resume" => Command::Resume,
            "acknowledge" => Command::Acknowledge,
            "drain" => Command::Drain { server: self.server()? },
            _ => {
                let server = self.server()?;
                let state = match self.word().as_deref() {
                    Some("on") => MaintenanceState::On,
                    Some("off") => MaintenanceState::Off,
                    _ => return Err(format!("ON or OFF is missing: {USAGE}")),
                };
                Command::Maintenance { server, state }
            }
        };
        let rehearse = self.take("dry");
        if rehearse && !self.take("run") {
            return Err(format!("RUN is missing after DRY: {USAGE}"));
        }
        Ok(if rehearse { Ask::Try(command) } else { Ask::Act(command) })
    }

    fn to(&mut self) -> Result<Option<ServerId>, String> {
        if self.take("to") { self.server().map(Some) } else { Ok(None) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Result<Action, String>> {
        parse(text, &Topology::unseen("c".into(), &["db1:3306".into(), "db2:3306".into()]))
    }

    fn ask(text: &str) -> Ask {
        read(text).unwrap().unwrap().ask
    }

    #[test]
    fn every_action_is_read() {
        let to = Some(ServerId(1));
        assert_eq!(ask("switchover"), Ask::Act(Command::Switchover { to: None }));
        assert_eq!(ask("SWITCHOVER TO 'DB2:3306' DRY RUN;"), Ask::Try(Command::Switchover { to }));
        assert_eq!(ask("failover to 'db2:3306' force"), Ask::Act(Command::Failover { to, force: Force::Yes }));
        assert_eq!(ask("failover dry run"), Ask::Try(Command::Failover { to: None, force: Force::No }));
        let server = ServerId(0);
        assert_eq!(ask("rejoin 'db1:3306'"), Ask::Act(Command::Rejoin { server, errant: RejoinErrant::Refuse }));
        assert_eq!(ask("rejoin 'db1:3306' clone"), Ask::Act(Command::Rejoin { server, errant: RejoinErrant::Clone }));
        assert_eq!(ask("pause"), Ask::Act(Command::Pause));
        assert_eq!(ask("drain 'db1:3306'"), Ask::Act(Command::Drain { server }));
        let off = Command::Maintenance { server, state: MaintenanceState::Off };
        assert_eq!(ask("maintenance 'db1:3306' off"), Ask::Act(off));
        assert_eq!((ask("why"), ask("show events")), (Ask::Why, Ask::Events));
        assert_eq!(read("why format json").unwrap().unwrap().form, Form::Json);
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        for text in [
            "switchover to",
            "switchover to db2",
            "maintenance 'db1:3306'",
            "failover dry",
            "pause now",
            "why format xml",
        ] {
            assert!(read(text).unwrap().is_err(), "{text}");
        }
        let unknown = read("drain 'db9:3306'").unwrap().unwrap_err();
        assert_eq!(unknown, "there is no server db9:3306; there are db1:3306, db2:3306");
        for text in ["SHOW SERVERS", "select 1", "", "drop table t"] {
            assert!(read(text).is_none(), "{text}");
        }
    }
}
