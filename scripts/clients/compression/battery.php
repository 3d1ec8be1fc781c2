<?php
// The battery of battery.py by PHP's mysqli or PDO (mysqlnd), compressed.
[, $library, $host, $port] = $argv;
mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
ini_set('memory_limit', '1G');

class Way
{
    private $connection;
    public function __construct(private string $library, string $host, int $port)
    {
        if ($library === 'mysqli') {
            $this->connection = mysqli_init();
            $this->connection->options(MYSQLI_OPT_LOCAL_INFILE, 1);
            $this->connection->real_connect($host, 'app', 'app-secret', 'packed', $port, null, MYSQLI_CLIENT_COMPRESS);
        } else {
            $this->connection = new PDO("mysql:host=$host;port=$port;dbname=packed", 'app', 'app-secret', [
                PDO::MYSQL_ATTR_COMPRESS => true, PDO::MYSQL_ATTR_LOCAL_INFILE => true, PDO::ATTR_EMULATE_PREPARES => false,
                PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION]);
        }
    }
    public function run(string $sql)
    {
        $result = $this->connection->query($sql);
        if ($this->library === 'mysqli') return $result === true ? $this->connection->affected_rows : $result->fetch_all();
        return $result->columnCount() ? $result->fetchAll(PDO::FETCH_NUM) : $result->rowCount();
    }
    public function prepared(string $sql, array $values)
    {
        $statement = $this->connection->prepare($sql);
        $statement->execute($values);
        if ($this->library === 'mysqli') return ($result = $statement->get_result()) ? $result->fetch_all() : $statement->affected_rows;
        return $statement->columnCount() ? $statement->fetchAll(PDO::FETCH_NUM) : $statement->rowCount();
    }
    public function several(string $sql): array
    {
        $all = [];
        if ($this->library === 'mysqli') {
            $this->connection->multi_query($sql);
            do {
                if ($result = $this->connection->store_result()) $all[] = $result->fetch_all();
            } while ($this->connection->more_results() && $this->connection->next_result());
            return $all;
        }
        $result = $this->connection->query($sql);
        do {
            if ($result->columnCount()) $all[] = $result->fetchAll(PDO::FETCH_NUM);
        } while ($result->nextRowset());
        return $all;
    }
    public function another_user()
    {
        if ($this->library === 'mysqli') $this->connection->change_user('app', 'app-secret', 'packed');
        return $this->run("SELECT DATABASE(), REPEAT('b', 200)");
    }
}

$acts = [
    'table' => function (Way $way) {
        $way->run('DROP TABLE IF EXISTS c');
        $way->run('CREATE TABLE c (n INT PRIMARY KEY, s LONGTEXT)');
        $rows = array_map(fn ($n) => "($n, '" . str_repeat("row $n ", 20) . "')", range(0, 19999));
        $way->run('INSERT INTO c VALUES ' . implode(',', $rows));
        return $way->run('SELECT * FROM c ORDER BY n');
    },
    'long_value' => function (Way $way) {
        $value = str_repeat('0123456789abcdef', 18 << 16);
        $way->run('DELETE FROM c');
        $way->run("INSERT INTO c VALUES (1, '$value')");
        $way->prepared('INSERT INTO c VALUES (?, ?)', [2, $value]);
        return $way->run('SELECT n, SHA2(s, 256), s FROM c ORDER BY n');
    },
    'noise' => function (Way $way) {
        mt_srand(7);
        $hex = '';
        for ($n = 0; $n < 100000; $n++) $hex .= sprintf('%02x', mt_rand(0, 255));
        return $way->run("SELECT UNHEX('$hex')");
    },
    'local_file' => function (Way $way) {
        file_put_contents('file.txt', implode('', array_map(fn ($n) => "$n\tline $n\n", range(0, 49999))));
        $way->run('DELETE FROM c');
        return [$way->run("LOAD DATA LOCAL INFILE 'file.txt' INTO TABLE c"), $way->run('SELECT COUNT(*), SUM(n), MAX(s) FROM c')];
    },
    'small_ones' => fn (Way $way) => array_map(fn ($n) => $way->run("SELECT $n, 'short'"), range(0, 299)),
    'several_results' => function (Way $way) {
        $way->run('DROP PROCEDURE IF EXISTS p');
        $way->run("CREATE PROCEDURE p() BEGIN SELECT 1; SELECT REPEAT('a', 1000); END");
        return $way->several('CALL p()');
    },
    'failing' => function (Way $way) {
        try {
            return $way->run('SELECT nonsense FROM nowhere');
        } catch (Exception $error) {
            return $error->getMessage();
        }
    },
    'prepared' => fn (Way $way) => array_map(
        fn ($n) => $way->prepared('SELECT n, s, ? FROM c WHERE n < ? ORDER BY n', [str_repeat('x', 100), $n * 100]), [1, 2, 3]),
    'another_user' => fn (Way $way) => $way->another_user(),
];
$way = new Way($library, $host, (int) $port);
foreach ($acts as $name => $act) {
    try {
        echo "PASSED $name ", substr(hash('sha256', serialize($act($way))), 0, 16), "\n";
    } catch (Throwable $error) {
        echo "FAILED $name ", get_class($error), ' ', $error->getMessage(), "\n";
    }
}
