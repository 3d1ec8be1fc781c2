# Java's MariaDB Connector/J 2.7.6 as Debian builds it, with the suite of its source: one outcome a test. Left out are the
# tests of failover between several servers, of Amazon's, and of local files of 4 GiB.

jars=/usr/share/java
classpath=$jars/mariadb-java-client.jar:$jars/junit4.jar:$jars/hamcrest-all.jar:$jars/jna.jar:$jars/jna-platform.jar
classpath=$classpath:$jars/slf4j-api.jar:$jars/logback-classic.jar:$jars/logback-core.jar

prepare() {
    command -v javac >/dev/null || packages default-jdk-headless
    packages libmariadb-java junit4 libhamcrest-java libjna-java libjna-platform-java liblogback-java libslf4j-java xz-utils
    debian_source m/mariadb-connector-java/mariadb-connector-java_2.7.6.orig.tar.xz
    cd "$work/src"
    local tests=src/test/java/org/mariadb/jdbc
    rm -rf classes "$tests"/{AuroraListenerTest,CredentialPluginTest,GiganticLoadDataInfileTest}.java
    find src/test/java -path '*/jdbc/*.java' ! -path '*/failover/*' >sources.txt
    ls "$tests"/failover/TcpProxy*.java >>sources.txt
    grep -v '/internal/failover/' sources.txt | xargs javac -nowarn -encoding UTF-8 -d classes -cp "$classpath"
    cp -r src/test/resources/. classes/
    # Silent: with the program's own levels it logs every packet.
    printf '<configuration><root level="OFF"/></configuration>\n' >classes/logback-test.xml
    cd - >/dev/null
}
# Many of its tests write by one connection and read by another.
consistency=global
databases() { printf '%s;\n' "DROP DATABASE IF EXISTS testj" "CREATE DATABASE testj DEFAULT CHARACTER SET utf8mb4"; }
outcomes() {
    local class classes=()
    while read -r class; do classes+=("$class"); done < <(cd classes && find org/mariadb/jdbc -name '*Test.class' | tr / . |
        sed 's/\.class$//' | grep -v 'BaseTest\|failover\|BaseM' | sort)
    # The suite's own lines: which test began, and how it ended.
    TEST_DB_HOST=$1 TEST_DB_PORT=$2 TEST_DB_USER=app TEST_DB_PASSWORD=app-secret TEST_DB_DATABASE=testj \
        TEST_DB_OTHER='allowPublicKeyRetrieval=true' timeout 1500 java -Duser.timezone=UTC -Xmx1g -cp "classes:$classpath" \
        org.junit.runner.JUnitCore "${classes[@]}" </dev/null 2>&1 | tee /dev/stderr |
        sed -nE 's/.*finished test (success|failed) : org\.mariadb\.jdbc\.([A-Za-z0-9_.]+) after.*/\1 \2/p'
}
