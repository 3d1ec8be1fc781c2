# Django 5.2.19 by mysqlclient, with the tests of its source distribution that ask a database.
lag=1

all=(aggregation aggregation_regress annotations backends basic bulk_create composite_pk constraints custom_columns custom_lookups
    custom_managers custom_pk datatypes dates datetimes db_functions defer defer_regress delete delete_regress distinct_on_fields
    expressions expressions_case expressions_window extra_regress filtered_relation fixtures fixtures_regress force_insert_update
    foreign_object from_db_value generic_relations get_earliest_or_latest get_or_create indexes inspectdb introspection lookup
    m2m_and_m2o m2m_intermediary m2m_multiple m2m_recursive m2m_regress m2m_signals m2m_through m2m_through_regress m2o_recursive
    many_to_many many_to_one many_to_one_null migrate_signals migration_test_data_persistence migrations migrations2 model_fields
    model_inheritance model_inheritance_regress multiple_database mutually_referential nested_foreign_keys null_fk null_queries
    one_to_one or_lookups order_with_respect_to ordering prefetch_related proxy_models queries queryset_pickle raw_query reserved_names
    reverse_lookup save_delete_hooks schema select_for_update select_related select_related_regress serializers sessions_tests
    string_lookup timezones transaction_hooks transactions unmanaged_models update update_only_fields xor_lookups)

prepare() {
    packages gcc pkg-config libmariadb-dev
    venv mysqlclient==2.3.2 Django==5.2.19 PyYAML jinja2 tblib
    pypi_source Django 5.2.19
}
databases() { fresh test_django test_django2; }
outcomes() {
    cat >tests/dbproxy_settings.py <<END
from test_sqlite import *

DATABASES = {
    alias: {
        "ENGINE": "django.db.backends.mysql",
        "HOST": "$1",
        "PORT": $2,
        "USER": "app",
        "PASSWORD": "app-secret",
        "NAME": name,
        "TEST": {"CHARSET": "utf8mb4", "COLLATION": "utf8mb4_general_ci"},
    }
    for alias, name in (("default", "django"), ("other", "django2"))
}
TEST_RUNNER = "dbproxy_runner.Runner"
END
    cat >tests/dbproxy_runner.py <<'END'
import os
import unittest
from django.test.runner import DiscoverRunner

outcomes = os.path.abspath("outcomes")


class Result(unittest.TextTestResult):
    def say(self, outcome, test):
        with open(outcomes, "a") as file:
            print(outcome, test.id(), file=file)

    def addSuccess(self, test):
        super().addSuccess(test)
        self.say("PASSED", test)

    def addFailure(self, test, why):
        super().addFailure(test, why)
        self.say("FAILED", test)

    def addError(self, test, why):
        super().addError(test, why)
        self.say("ERROR", test)

    def addSkip(self, test, why):
        super().addSkip(test, why)
        self.say("SKIPPED", test)

    def addExpectedFailure(self, test, why):
        super().addExpectedFailure(test, why)
        self.say("XFAIL", test)

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self.say("XPASS", test)

    def addSubTest(self, test, subtest, why):
        super().addSubTest(test, subtest, why)
        if why is not None:
            self.say("FAILED", subtest)


class Runner(DiscoverRunner):
    def get_resultclass(self):
        return Result
END
    cd tests
    local labels
    mapfile -t labels < <(printf '%s\n' "${all[@]}" | every)
    PYTHONDONTWRITEBYTECODE=1 timeout 1500 "$CACHE/${suite%%-*}-venv/bin/python" runtests.py --settings dbproxy_settings --parallel 1 \
        --noinput "${labels[@]}" </dev/null >&2 2>&1 || true
    cat outcomes
}
