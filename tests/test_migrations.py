"""Migrations: files, order, journal, guard. The target here is a list; SQLite is in test_sqlite_adoption."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mycelia_storage.errors import InvalidInput, MigrationError, SchemaTooNew, StorageBusy
from mycelia_storage.migrations import (
    JournalRow,
    Migration,
    Migrator,
    core_migrations,
    derive_schema_name,
    load_migrations,
)
from mycelia_storage.sql_guard import destructive_statement, transaction_statement


class ListTarget:
    """A database whose schema is the list of scripts that ran. A script ``fail`` fails after it left a trace."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.journal: dict[str, dict[int, JournalRow]] = {}
        self.transactions = 0
        self.in_transaction = False
        self.before_lock = lambda: None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self.before_lock()
        self.transactions += 1
        kept = list(self.ran), {name: dict(rows) for name, rows in self.journal.items()}
        self.in_transaction = True
        try:
            yield
        except BaseException:
            self.ran, self.journal = kept
            raise
        finally:
            self.in_transaction = False

    def read_journal(self, component: str) -> list[JournalRow]:
        return [row for _, row in sorted(self.journal.get(component, {}).items())]

    def components(self) -> list[str]:
        return sorted(name for name, rows in self.journal.items() if rows)

    def ensure_journal(self) -> None:
        assert self.in_transaction

    def insert_row(self, component: str, row: JournalRow) -> None:
        assert self.in_transaction
        assert row.version not in self.journal.get(component, {})
        self.journal.setdefault(component, {})[row.version] = row

    def delete_row(self, component: str, version: int) -> None:
        assert self.in_transaction
        del self.journal[component][version]

    def run_script(self, sql: str) -> None:
        assert self.in_transaction
        self.ran.append(sql)
        if "fail" in sql:
            raise ZeroDivisionError("the script failed")

    def table_definitions(self, component: str) -> list[str]:
        return [f"{component}: {sql}" for sql in self.ran]


def steps(*ups: str, component: str = "core", downs: bool = True) -> list[Migration]:
    return [
        Migration(component, number, f"step{number}", up, f"undo {up}" if downs else None)
        for number, up in enumerate(ups, start=1)
    ]


@pytest.fixture
def target() -> ListTarget:
    return ListTarget()


# -- up, down, status


def test_up_applies_everything_in_order_and_once(target: ListTarget) -> None:
    migrator = Migrator(target, reversed(steps("a", "b", "c")))
    assert migrator.up() == [1, 2, 3]
    assert target.ran == ["a", "b", "c"]
    assert migrator.version() == 3
    assert migrator.up() == []
    assert target.ran == ["a", "b", "c"]
    assert target.transactions == 3, "one for each migration, and none where nothing is pending"


def test_up_and_down_stop_at_the_version_asked_for(target: ListTarget) -> None:
    migrator = Migrator(target, steps("a", "b", "c"))
    assert migrator.up(2) == [1, 2]
    assert migrator.up(1) == []
    assert migrator.up() == [3]
    assert migrator.down(1) == [3, 2]
    assert target.ran[3:] == ["undo c", "undo b"]
    assert migrator.down(1) == []
    assert migrator.version() == 1
    assert migrator.down(0) == [1]
    assert migrator.version() == 0


@pytest.mark.parametrize("to", [-1, 4, True, "2", 1.0])
def test_a_version_that_does_not_exist_is_refused(target: ListTarget, to: object) -> None:
    migrator = Migrator(target, steps("a", "b", "c"))
    with pytest.raises(InvalidInput, match="known are 0 to 3"):
        migrator.up(to)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="known are 0 to 3"):
        migrator.down(to)  # type: ignore[arg-type]
    assert target.ran == []


def test_a_dry_run_reports_and_writes_nothing(target: ListTarget) -> None:
    migrator = Migrator(target, steps("a", "b", "c"))
    migrator.up(1)
    assert migrator.up(dry_run=True) == [2, 3]
    assert migrator.up(2, dry_run=True) == [2]
    assert migrator.down(0, dry_run=True) == [1]
    assert target.ran == ["a"]
    assert target.transactions == 1


def test_status_tells_applied_pending_edited_and_unknown(target: ListTarget) -> None:
    Migrator(target, steps("a", "b", "c")).up()
    report = Migrator(target, steps("a", "B")).status()
    assert [(line.version, line.name, line.state) for line in report] == [
        (1, "step1", "applied"),
        (2, "step2", "edited"),
        (3, "step3", "unknown"),
    ]
    assert all(line.component == "core" for line in report)
    assert all(line.applied_at is not None and line.applied_at > 1_600_000_000_000 for line in report)
    pending = Migrator(ListTarget(), steps("a")).status()
    assert [(line.state, line.applied_at) for line in pending] == [("pending", None)]


def test_other_components_are_told_as_the_journal_has_them(target: ListTarget) -> None:
    notes = Migrator(target, steps("a", "b", component="notes"), "notes")
    notes.up()
    Migrator(target, steps("z", component="attic"), "attic").up()
    core = Migrator(target, steps("one", "two"))
    core.up(1)
    told = [(line.component, line.version, line.name, line.state) for line in core.status_of_others()]
    assert told == [
        ("attic", 1, "step1", "recorded"),
        ("notes", 1, "step1", "recorded"),
        ("notes", 2, "step2", "recorded"),
    ]
    assert core.status_of_others()[1].applied_at == notes.status()[0].applied_at
    assert {line.component for line in core.status()} == {"core"}
    assert {line.component for line in notes.status_of_others()} == {"attic", "core"}
    notes.down(0, allow_destructive=True)
    assert {line.component for line in core.status_of_others()} == {"attic"}


def test_the_journal_row_keeps_name_checksum_and_snapshot(target: ListTarget) -> None:
    migration = steps("a")[0]
    Migrator(target, [migration]).up()
    row = target.journal["core"][1]
    assert (row.version, row.name, row.checksum) == (1, "step1", migration.checksum)
    assert row.snapshot == '["core: a"]'


# -- what goes wrong


def test_a_failed_migration_rolls_back_alone_and_keeps_its_cause(target: ListTarget) -> None:
    migrator = Migrator(target, steps("a", "fail", "c"))
    with pytest.raises(MigrationError, match=r"0002_step2.*rolled back") as caught:
        migrator.up()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert target.ran == ["a"]
    assert migrator.version() == 1
    assert Migrator(target, steps("a", "mended", "c")).up() == [2, 3]


def test_a_failed_down_leaves_the_version_it_came_from(target: ListTarget) -> None:
    migrations = [Migration("core", 1, "one", "a", "undo a"), Migration("core", 2, "two", "b", "fail")]
    migrator = Migrator(target, migrations)
    migrator.up()
    with pytest.raises(MigrationError, match="undoing") as caught:
        migrator.down(0)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert migrator.version() == 2


def test_an_interruption_in_the_middle_rolls_back_and_passes_through(target: ListTarget) -> None:
    def interrupt(sql: str) -> None:
        target.ran.append(sql)
        raise KeyboardInterrupt

    Migrator(target, steps("a")).up()
    target.run_script = interrupt  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        Migrator(target, steps("a", "b")).up()
    assert target.ran == ["a"]
    assert list(target.journal["core"]) == [1]


def test_a_busy_database_is_not_reported_as_a_failed_migration(target: ListTarget) -> None:
    def busy() -> None:
        raise StorageBusy("locked")

    target.before_lock = busy
    with pytest.raises(StorageBusy):
        Migrator(target, steps("a")).up()


def test_a_newer_database_is_refused_and_untouched(target: ListTarget) -> None:
    Migrator(target, steps("a", "b", "c")).up()
    older = Migrator(target, steps("a", "b"))
    for act in (older.up, lambda: older.up(1), lambda: older.down(0), lambda: older.up(dry_run=True)):
        with pytest.raises(SchemaTooNew, match=r"version 3.*knows 2"):
            act()
    assert target.transactions == 3
    assert older.version() == 3, "reading still works"


def test_an_edited_migration_stops_up_and_down(target: ListTarget) -> None:
    Migrator(target, steps("a", "b")).up()
    edited = Migrator(target, steps("A", "b", "c"))
    for act in (edited.up, lambda: edited.down(0)):
        with pytest.raises(MigrationError, match="0001_step1 of core was edited"):
            act()
    assert target.ran == ["a", "b"]


def test_an_adopted_row_without_checksum_is_not_edited(target: ListTarget) -> None:
    target.journal["core"] = {1: JournalRow(1, None, None, 5)}
    migrator = Migrator(target, steps("whatever", "b"))
    assert [line.state for line in migrator.status()] == ["applied", "pending"]
    assert migrator.up() == [2]


def test_line_ends_and_the_down_script_do_not_change_the_checksum() -> None:
    unix = Migration("core", 1, "one", "CREATE TABLE a (x);\nCREATE TABLE b (x);\n", "x")
    dos = Migration("core", 1, "one", "CREATE TABLE a (x);\r\nCREATE TABLE b (x);\r\n", "y")
    other = Migration("core", 1, "one", "CREATE TABLE a (x);\nCREATE TABLE b (y);\n")
    assert unix.checksum == dos.checksum != other.checksum
    assert len(unix.checksum) == 64


def test_a_hole_in_the_journal_is_an_error(target: ListTarget) -> None:
    target.journal["core"] = {2: JournalRow(2, "step2", None, 5)}
    with pytest.raises(MigrationError, match="lacks versions below 2"):
        Migrator(target, steps("a", "b")).up()


def test_a_migration_without_down_script_stops_the_way_back_before_anything_is_undone(target: ListTarget) -> None:
    migrations = [*steps("a", downs=False), Migration("core", 2, "two", "b", "undo b")]
    migrator = Migrator(target, migrations)
    migrator.up()
    with pytest.raises(MigrationError, match="0001_step1 of core cannot be undone"):
        migrator.down(0)
    assert target.ran == ["a", "b"]
    assert migrator.down(1) == [2]


# -- concurrent starters: what another process does between the first look and the lock


def test_a_starter_that_comes_second_applies_nothing(target: ListTarget) -> None:
    migrations = steps("a", "b")

    def someone_else_was_faster() -> None:
        target.before_lock = lambda: None
        Migrator(target, migrations).up()

    target.before_lock = someone_else_was_faster
    assert Migrator(target, migrations).up() == []
    assert target.ran == ["a", "b"]


def test_a_newer_starter_that_comes_first_is_noticed_under_the_lock(target: ListTarget) -> None:
    def newer_library() -> None:
        target.before_lock = lambda: None
        Migrator(target, steps("a", "b", "c")).up()

    target.before_lock = newer_library
    with pytest.raises(SchemaTooNew):
        Migrator(target, steps("a", "b")).up()
    assert target.ran == ["a", "b", "c"]


def test_down_notices_that_someone_migrated_up_meanwhile(target: ListTarget) -> None:
    migrations = steps("a", "b", "c")
    Migrator(target, migrations).up(2)

    def someone_migrates_up() -> None:
        target.before_lock = lambda: None
        Migrator(target, migrations).up()

    target.before_lock = someone_migrates_up
    with pytest.raises(MigrationError, match="migrated up meanwhile"):
        Migrator(target, migrations).down(1)
    assert target.ran == ["a", "b", "c"]


# -- components


def test_components_have_version_lines_of_their_own(target: ListTarget) -> None:
    core = Migrator(target, steps("a", "b"))
    notes = Migrator(target, steps("n", component="notes"), "notes")
    core.up()
    assert notes.version() == 0
    assert notes.up() == [1]
    assert core.version() == 2
    assert notes.down(0) == [1]
    assert core.version() == 2


def test_a_migrator_refuses_another_components_migrations(target: ListTarget) -> None:
    with pytest.raises(MigrationError, match="not a migration of notes"):
        Migrator(target, steps("a"), "notes")
    with pytest.raises(InvalidInput, match="derive_schema_name"):
        Migrator(target, [], "@my/notes")


@pytest.mark.parametrize(
    ("package", "name"),
    [
        ("@your-org/plugin-name", "your_org_plugin_name"),
        ("Plain", "plain"),
        ("a--b__c  d", "a_b_c_d"),
        ("2fast", "_2fast"),
        ("__init__", "init"),
        ("naïve", "na_ve"),
        ("x\n", "x"),
    ],
)
def test_schema_names_come_from_package_names(package: str, name: str) -> None:
    assert derive_schema_name(package) == name


@pytest.mark.parametrize("package", ["", "@/-", "日本", None, 7])
def test_a_package_name_with_nothing_usable_is_refused(package: object) -> None:
    with pytest.raises(InvalidInput):
        derive_schema_name(package)  # type: ignore[arg-type]


def test_a_component_needs_permission_to_destroy(target: ListTarget) -> None:
    migrations = steps("CREATE TABLE notes_a (x)", "DROP TABLE notes_a", component="notes", downs=False)
    migrator = Migrator(target, migrations, "notes")
    with pytest.raises(MigrationError, match=r"0002_step2.*DROP TABLE.*allow_destructive"):
        migrator.up()
    assert target.ran == [], "refused before the harmless step before it runs"
    assert migrator.up(1) == [1]
    with pytest.raises(MigrationError):
        migrator.up(dry_run=True)
    assert migrator.up(allow_destructive=True) == [2]


def test_a_component_needs_permission_to_destroy_on_the_way_back_too(target: ListTarget) -> None:
    migrations = [Migration("notes", 1, "one", "CREATE TABLE notes_a (x)", "DROP TABLE notes_a")]
    migrator = Migrator(target, migrations, "notes")
    migrator.up()
    with pytest.raises(MigrationError, match="DROP TABLE"):
        migrator.down(0)
    assert migrator.down(0, allow_destructive=True) == [1]


def test_no_migration_may_end_its_transaction(target: ListTarget) -> None:
    for component in ("core", "notes"):
        migrator = Migrator(target, steps("CREATE TABLE a (x); COMMIT", component=component), component)
        with pytest.raises(MigrationError, match=r"controls transactions itself \(COMMIT\)"):
            migrator.up(allow_destructive=True)
    assert target.ran == []


# -- the guard


@pytest.mark.parametrize(
    "script",
    [
        "DROP TABLE a",
        "drop\n table IF EXISTS a",
        "CREATE TABLE b (x); DROP/* why */TABLE a;",
        "ALTER TABLE a DROP COLUMN x",
        "ALTER TABLE a DROP x",
        'ALTER TABLE "a" DROP "x"',
        "ALTER TABLE a ADD y int, DROP COLUMN x",
        "DROP SCHEMA s CASCADE",
        "DELETE FROM a",
        "DELETE FROM a; SELECT 1 WHERE true",
        "WITH gone AS (DELETE FROM a RETURNING *) SELECT * FROM gone",
        "TRUNCATE a",
        "truncate table a",
        "SELECT 'it''s'; DROP TABLE a",
        "SELECT E'\\''; DROP TABLE a; --'",
        "-- a comment with ' in it\nDROP TABLE a",
        "/* a comment with ' in it */ DROP TABLE a",
        "DO $$ BEGIN DROP TABLE a; END $$",
        "DO $x$ BEGIN PERFORM 1; DELETE FROM a; END $x$",
        "CREATE TRIGGER t AFTER INSERT ON a BEGIN DELETE FROM b; END",
    ],
)
def test_destructive_scripts_are_seen(script: str) -> None:
    assert destructive_statement(script) is not None


@pytest.mark.parametrize(
    "script",
    [
        "",
        ";;",
        "CREATE TABLE a (x)",
        "DROP INDEX i",
        "DROP VIEW v",
        "ALTER TABLE a RENAME TO b",
        "ALTER TABLE a ADD COLUMN x",
        "ALTER TABLE a DROP CONSTRAINT c",
        "ALTER TABLE a ALTER COLUMN x DROP NOT NULL, ALTER y DROP DEFAULT",
        "DELETE FROM a WHERE x = 1",
        "CREATE TABLE a (x REFERENCES b ON DELETE CASCADE)",
        "CREATE TRIGGER t AFTER DELETE ON a BEGIN DELETE FROM b WHERE b.x = old.x; END",
        "INSERT INTO a VALUES ('DROP TABLE a; DELETE FROM a')",
        "INSERT INTO a VALUES (E'\\'; DROP TABLE a')",
        '-- DROP TABLE a\n/* DELETE FROM a */ CREATE TABLE b ("DROP TABLE" int, [DELETE FROM] int)',
    ],
)
def test_harmless_scripts_pass(script: str) -> None:
    assert destructive_statement(script) is None


@pytest.mark.parametrize("word", ["BEGIN", "begin immediate", "COMMIT", "END", "ROLLBACK", "SAVEPOINT s", "VACUUM"])
def test_transaction_statements_are_seen(word: str) -> None:
    assert transaction_statement(f"CREATE TABLE a (x); -- and\n {word};") == word.split()[0].upper()


@pytest.mark.parametrize(
    "script",
    [
        "CREATE TRIGGER t AFTER INSERT ON a BEGIN DELETE FROM b WHERE x = 1; INSERT INTO c VALUES (1); END; SELECT 1",
        "CREATE TEMP TRIGGER t AFTER INSERT ON a BEGIN SELECT CASE WHEN 1 THEN 2 END; END;",
        "DO $$ BEGIN PERFORM 1; END $$",
        "SELECT 'COMMIT; BEGIN'",
        "CREATE TABLE a (commit_id, rollback_id)",
    ],
)
def test_bodies_of_triggers_and_blocks_are_no_transactions(script: str) -> None:
    assert transaction_statement(script) is None


def test_a_transaction_statement_after_a_trigger_is_seen() -> None:
    script = "CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1; END; COMMIT;"
    assert transaction_statement(script) == "COMMIT"


# -- files


def test_files_are_read_in_order_of_version(tmp_path: Path) -> None:
    (tmp_path / "0002_more.up.sql").write_text("b")
    (tmp_path / "0002_more.down.sql").write_text("undo b")
    (tmp_path / "0001_start.up.sql").write_text("a")
    (tmp_path / "README.md").write_text("not a migration")
    found = load_migrations(tmp_path, "notes")
    assert [(m.component, m.version, m.name, m.up, m.down) for m in found] == [
        ("notes", 1, "start", "a", None),
        ("notes", 2, "more", "b", "undo b"),
    ]
    assert load_migrations(str(tmp_path), "notes") == found


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["0001_a.up.sql", "0003_c.up.sql"], "no migration with version 2"),
        (["0002_b.up.sql"], "no migration with version 1"),
        (["0000_zero.up.sql"], "versions count from 1"),
        (["0001_a.up.sql", "0001_b.up.sql"], "two migrations with version 1"),
        (["0001_a.down.sql"], "no up script"),
        (["0001_a.up.sql", "0001_b.down.sql"], "0001_b has no up script"),
        (["1_a.up.sql"], "is not named"),
        (["0001_a.sql"], "is not named"),
        (["0001_a.up.sql", "notes.sql"], "is not named"),
    ],
)
def test_bad_sets_of_files_are_refused(tmp_path: Path, names: list[str], message: str) -> None:
    for name in names:
        (tmp_path / name).write_text("SELECT 1")
    with pytest.raises(MigrationError, match=message):
        load_migrations(tmp_path)


def test_a_missing_folder_and_text_that_is_not_utf8_are_migration_errors(tmp_path: Path) -> None:
    with pytest.raises(MigrationError, match="cannot be read"):
        load_migrations(tmp_path / "missing")
    (tmp_path / "0001_a.up.sql").write_bytes(b"\xff\xfe")
    with pytest.raises(MigrationError, match="cannot be read"):
        load_migrations(tmp_path)


def test_an_unknown_dialect_has_no_migrations() -> None:
    with pytest.raises(MigrationError, match="'cobol'"):
        core_migrations("cobol")


def test_the_librarys_own_migrations_can_all_be_undone() -> None:
    own = core_migrations("sqlite")
    assert own[0].name == "plan"
    assert all(migration.down for migration in own)
