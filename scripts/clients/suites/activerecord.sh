# Ruby's ActiveRecord 6.1 by mysql2, as Debian builds it, with the suite of its source.
lag=1

prepare() {
    packages ruby ruby-actionpack ruby-activejob ruby-activerecord ruby-bcrypt ruby-mysql2 ruby-minitest ruby-sqlite3 xz-utils
    debian_source r/rails/rails_6.1.7.10+dfsg.orig.tar.xz
    find "$work/src" -mindepth 1 -maxdepth 1 ! -name activerecord -exec rm -rf {} +
    mv "$work"/src/activerecord/test "$work/src/test"
    # Left there by mistake: a debugger.
    sed -i "/^require .byebug/d" "$work"/src/test/cases/*.rb
    [ -z "${transactional_tests:-}" ] || sed -i "s/\(use_transactional_tests =\) true/\1 $transactional_tests/" "$work/src/test/cases/test_case.rb"
}
databases() { fresh activerecord_unittest activerecord_unittest2; }
outcomes() {
    cat >config.yml <<END
default_connection: mysql2
connections:
  mysql2:
    arunit: &server
      host: $1
      port: $2
      username: app
      password: app-secret
      encoding: utf8mb4
      collation: utf8mb4_unicode_ci
    arunit2:
      <<: *server
      collation: utf8mb4_general_ci
END
    find test/cases -name '*_test.rb' | grep -v '/adapters/[^m]' | LC_ALL=C sort | every >files
    OUTCOMES=$PWD/outcomes ARCONFIG=config.yml timeout 1500 ruby -Itest -e '
        require "minitest"
        class Minitest::ProgressReporter
            def record(result)
                outcome = result.passed? ? "PASSED" : result.skipped? ? "SKIPPED" : result.error? ? "ERROR" : "FAILED"
                File.write(ENV["OUTCOMES"], "#{outcome} #{result.klass}##{result.name}\n", mode: "a")
            end
        end
        File.foreach("files", chomp: true) { |name| require "./#{name}" }' -- --seed 1 </dev/null >&2 2>&1 || true
    sed 's/0x[0-9a-f]*/ADDRESS/g' outcomes
}
