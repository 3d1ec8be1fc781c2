#!/bin/bash
# Run once by the image, on a server that is being made: accounts that are the same everywhere, and replication by GTID. The
# transactions that made them are forgotten, so that no server begins with one of its own.
mariadb --user=root --password="$MARIADB_ROOT_PASSWORD" <<SQL
SET sql_log_bin = 0;
CREATE USER 'dbproxy'@'%' IDENTIFIED BY '$MONITOR_PASSWORD';
GRANT SLAVE MONITOR, BINLOG MONITOR, PROCESS, RELOAD, REPLICATION SLAVE ADMIN, REPLICATION MASTER ADMIN, READ_ONLY ADMIN, CONNECTION ADMIN, BINLOG ADMIN ON *.* TO 'dbproxy'@'%';
GRANT ALL ON dbproxy.* TO 'dbproxy'@'%';
CREATE USER 'repl'@'%' IDENTIFIED BY '$REPLICATION_PASSWORD';
GRANT REPLICATION SLAVE ON *.* TO 'repl'@'%';
CREATE USER 'app'@'%' IDENTIFIED BY '$APP_PASSWORD';
GRANT ALL ON app.* TO 'app'@'%';
CREATE SCHEMA app;
RESET MASTER;
SQL
if [ -n "$REPLICATE_FROM" ]; then
    # It begins to replicate by itself when the server is started next.
    mariadb --user=root --password="$MARIADB_ROOT_PASSWORD" <<SQL
CHANGE MASTER TO MASTER_HOST = '$REPLICATE_FROM', MASTER_USER = 'repl', MASTER_PASSWORD = '$REPLICATION_PASSWORD',
    MASTER_USE_GTID = slave_pos, MASTER_SSL = 1, MASTER_CONNECT_RETRY = 1, MASTER_HEARTBEAT_PERIOD = 0.5;
SQL
fi
