# Perl's DBD::MariaDB 1.22 as Debian builds it, with the suite of its source: one outcome a TAP line.

prepare() {
    packages perl libdbi-perl libdbd-mariadb-perl libtest-deep-perl libnet-ssleay-perl
    debian_source libd/libdbd-mariadb-perl/libdbd-mariadb-perl_1.22.orig.tar.gz
}
databases() {
    printf '%s;\n' "DROP DATABASE IF EXISTS dbd_test" \
        "CREATE DATABASE dbd_test DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci"
}
outcomes() {
    local file
    for file in t/*.t; do
        # Connection ids, addresses and durations differ from run to run.
        DBI_DSN="DBI:MariaDB:database=dbd_test;host=$1;port=$2" DBI_USER=app DBI_PASS=app-secret CONNECTION_TESTING=1 PERL_HASH_SEED=0 \
            timeout 120 perl -I. -It "$file" </dev/null 2>&1 | tee -a /dev/stderr |
            sed -nE "s/^(ok|not ok) ([0-9]+)(.*)/\1 ${file##*/} \2\3/; t show; s/^(1\.\.0.*|Bail out.*)/SKIPPED ${file##*/} \1/; t show; d; :show
                s/^not ok/NOT_OK/; s/^ok/OK/; s/0x[0-9a-f]+/ADDRESS/g; s/(connection:?) [0-9]+( => [0-9]+)?/\1 ID/Ig; p" || true
    done
}
