//! Commands: the first byte of a client's packet in the command phase.
//!
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/my__command_8h.html> (`enum_server_command`);
//! 0xfa is MariaDB's, <https://mariadb.com/docs/server/reference/clientserver-protocol/3-binary-protocol-prepared-statements/com_stmt_bulk_execute>.

macro_rules! commands {
    ($($name:ident = $byte:literal $text:literal,)*) => {
        /// A command. The names are the protocol's own, without `COM_`.
        #[allow(missing_docs)]
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u8)]
        pub enum Command { $($name = $byte,)* }

        impl Command {
            /// Every command there is, for tables that hold one row for each.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The command of this byte; `None` for one that neither product knows.
            pub const fn from_byte(byte: u8) -> Option<Self> {
                match byte {
                    $($byte => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// Its name as the manuals write it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

commands! {
    Sleep = 0x00 "COM_SLEEP",
    Quit = 0x01 "COM_QUIT",
    InitDb = 0x02 "COM_INIT_DB",
    Query = 0x03 "COM_QUERY",
    FieldList = 0x04 "COM_FIELD_LIST",
    CreateDb = 0x05 "COM_CREATE_DB",
    DropDb = 0x06 "COM_DROP_DB",
    Refresh = 0x07 "COM_REFRESH",
    Shutdown = 0x08 "COM_SHUTDOWN",
    Statistics = 0x09 "COM_STATISTICS",
    ProcessInfo = 0x0a "COM_PROCESS_INFO",
    Connect = 0x0b "COM_CONNECT",
    ProcessKill = 0x0c "COM_PROCESS_KILL",
    Debug = 0x0d "COM_DEBUG",
    Ping = 0x0e "COM_PING",
    Time = 0x0f "COM_TIME",
    DelayedInsert = 0x10 "COM_DELAYED_INSERT",
    ChangeUser = 0x11 "COM_CHANGE_USER",
    BinlogDump = 0x12 "COM_BINLOG_DUMP",
    TableDump = 0x13 "COM_TABLE_DUMP",
    ConnectOut = 0x14 "COM_CONNECT_OUT",
    RegisterSlave = 0x15 "COM_REGISTER_SLAVE",
    StmtPrepare = 0x16 "COM_STMT_PREPARE",
    StmtExecute = 0x17 "COM_STMT_EXECUTE",
    StmtSendLongData = 0x18 "COM_STMT_SEND_LONG_DATA",
    StmtClose = 0x19 "COM_STMT_CLOSE",
    StmtReset = 0x1a "COM_STMT_RESET",
    SetOption = 0x1b "COM_SET_OPTION",
    StmtFetch = 0x1c "COM_STMT_FETCH",
    Daemon = 0x1d "COM_DAEMON",
    BinlogDumpGtid = 0x1e "COM_BINLOG_DUMP_GTID",
    ResetConnection = 0x1f "COM_RESET_CONNECTION",
    Clone = 0x20 "COM_CLONE",
    SubscribeGroupReplicationStream = 0x21 "COM_SUBSCRIBE_GROUP_REPLICATION_STREAM",
    StmtBulkExecute = 0xfa "COM_STMT_BULK_EXECUTE",
    SlaveWorker = 0xfb "COM_SLAVE_WORKER",
    SlaveIo = 0xfc "COM_SLAVE_IO",
    SlaveSql = 0xfd "COM_SLAVE_SQL",
    Multi = 0xfe "COM_MULTI",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_found_by_its_byte_and_no_other_byte_is_one() {
        let known: Vec<u8> = (0..=u8::MAX).filter(|&byte| Command::from_byte(byte).is_some()).collect();
        assert_eq!(known.len(), Command::ALL.len());
        for &command in Command::ALL {
            assert_eq!(Command::from_byte(command as u8), Some(command));
            assert!(command.as_str().starts_with("COM_"));
        }
        assert_eq!(Command::from_byte(0x22), None);
    }

    #[test]
    fn the_bytes_are_those_of_the_protocol() {
        assert_eq!(Command::from_byte(3), Some(Command::Query));
        assert_eq!(Command::from_byte(0x19), Some(Command::StmtClose));
        assert_eq!(Command::from_byte(0x1f), Some(Command::ResetConnection));
        assert_eq!(Command::from_byte(0xfa), Some(Command::StmtBulkExecute));
    }
}
