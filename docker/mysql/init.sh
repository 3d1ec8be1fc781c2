#!/bin/bash
# Run once by the image, on a server that is being made: accounts that are the same everywhere, and replication by GTID. The
# transactions that made them are forgotten, so that no server begins with one of its own.
mysql --user=root --password="$MYSQL_ROOT_PASSWORD" <<SQL
SET sql_log_bin = 0;
CREATE USER 'dbproxy'@'%' IDENTIFIED BY '$MONITOR_PASSWORD';
GRANT REPLICATION CLIENT, PROCESS, RELOAD, REPLICATION_SLAVE_ADMIN, SYSTEM_VARIABLES_ADMIN, CONNECTION_ADMIN, BACKUP_ADMIN, CLONE_ADMIN ON *.* TO 'dbproxy'@'%';
GRANT SELECT ON performance_schema.* TO 'dbproxy'@'%';
GRANT ALL ON dbproxy.* TO 'dbproxy'@'%';
CREATE USER 'repl'@'%' IDENTIFIED BY '$REPLICATION_PASSWORD';
GRANT REPLICATION SLAVE ON *.* TO 'repl'@'%';
CREATE USER 'app'@'%' IDENTIFIED BY '$APP_PASSWORD';
GRANT ALL ON app.* TO 'app'@'%';
CREATE SCHEMA app;
RESET BINARY LOGS AND GTIDS;
-- From its next start on, and at each: whoever was replaced while it was down comes up closed.
SET PERSIST_ONLY super_read_only = ON;
SQL
if [ -n "$REPLICATE_FROM" ]; then
    # It begins to replicate by itself when the server is started next.
    mysql --user=root --password="$MYSQL_ROOT_PASSWORD" <<SQL
CHANGE REPLICATION SOURCE TO SOURCE_HOST = '$REPLICATE_FROM', SOURCE_USER = 'repl', SOURCE_PASSWORD = '$REPLICATION_PASSWORD',
    SOURCE_AUTO_POSITION = 1, SOURCE_SSL = 1, SOURCE_CONNECT_RETRY = 1, SOURCE_RETRY_COUNT = 0, SOURCE_HEARTBEAT_PERIOD = 0.5;
SQL
fi
