"""One battery of statements by a client library that compresses. Prints PASSED or FAILED, a name, and what came back."""
import hashlib
import sys

library, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
login = {"host": host, "port": port, "user": "app", "password": "app-secret", "database": "packed"}


def connect():
    if library == "mysqlclient":
        import MySQLdb
        return MySQLdb.connect(compress=True, local_infile=1, charset="utf8mb4", **login)
    import mysql.connector
    return mysql.connector.connect(
        compress=True, allow_local_infile=True, use_pure=library == "connector-python", ssl_disabled=TLS is False, **login)


def digest(rows):
    return hashlib.sha256(repr(rows).encode()).hexdigest()[:16]


def run(connection, sql, arguments=None):
    cursor = connection.cursor()
    cursor.execute(sql, arguments)
    rows = cursor.fetchall() if cursor.description else cursor.rowcount
    cursor.close()
    return rows


def table(connection):
    run(connection, "DROP TABLE IF EXISTS c")
    run(connection, "CREATE TABLE c (n INT PRIMARY KEY, s LONGTEXT)")
    cursor = connection.cursor()
    cursor.executemany("INSERT INTO c VALUES (%s, %s)", [(n, "row %d " % n * 20) for n in range(20000)])
    connection.commit()
    return run(connection, "SELECT * FROM c ORDER BY n")


def long_value(connection):
    value = "0123456789abcdef" * (18 << 16)  # 18 MiB: a packet of more than the greatest length
    run(connection, "DELETE FROM c")
    run(connection, "INSERT INTO c VALUES (1, %s)", (value,))
    connection.commit()
    return run(connection, "SELECT SHA2(s, 256), s FROM c") == run(connection, "SELECT SHA2(%s, 256), %s", (value, value))


def noise(connection):
    state, out = 1, []
    for _ in range(100000):
        state = (state * 6364136223846793005 + 1442695040888963407) % (1 << 64)
        out.append("%02x" % (state >> 56))
    return run(connection, "SELECT UNHEX('%s')" % "".join(out))


def local_file(connection):
    with open("file.txt", "w") as file:
        file.writelines("%d\tline %d\n" % (n, n) for n in range(50000))
    run(connection, "DELETE FROM c")
    loaded = run(connection, "LOAD DATA LOCAL INFILE 'file.txt' INTO TABLE c")
    connection.commit()
    return loaded, run(connection, "SELECT COUNT(*), SUM(n), MAX(s) FROM c")


def small_ones(connection):
    return [run(connection, "SELECT %s, 'short'", (n,)) for n in range(300)]


def several_results(connection):
    run(connection, "DROP PROCEDURE IF EXISTS p")
    run(connection, "CREATE PROCEDURE p() BEGIN SELECT 1; SELECT REPEAT('a', 1000); END")
    cursor = connection.cursor()
    cursor.callproc("p")
    if library == "mysqlclient":
        results = [cursor.fetchall()]
        while cursor.nextset():
            results.append(cursor.fetchall())
    else:
        results = [result.fetchall() for result in cursor.stored_results()]
    cursor.close()
    return results


def failing(connection):
    try:
        run(connection, "SELECT nonsense FROM nowhere")
    except Exception as error:
        return error.args[:2]


def prepared(connection):
    if library == "mysqlclient":
        return None
    cursor = connection.cursor(prepared=True)
    out = []
    for n in (1, 2, 3):
        cursor.execute("SELECT n, s, %s FROM c WHERE n < %s ORDER BY n", ("x" * 100, n * 100))
        out.append(cursor.fetchall())
    return out


def another_user(connection):
    if library == "mysqlclient":
        connection.change_user("app", "app-secret", "packed")
    else:
        connection.cmd_change_user(username="app", password="app-secret", database="packed")
    return run(connection, "SELECT DATABASE(), REPEAT('b', 200)")


def ping(connection):
    connection.ping()
    return "alive"


for TLS in (True, False) if library == "connector-python" else (True,):
    connection = connect()
    for act in (table, long_value, noise, local_file, small_ones, several_results, failing, prepared, another_user, ping):
        name = act.__name__ + ("" if TLS else "-plain")
        try:
            print("PASSED", name, digest(act(connection)))
        except Exception as error:
            print("FAILED", name, type(error).__name__, error)
    connection.close()
