"""Loads a file of records, or a dump, into a storage: bounded transactions, bad lines reported, resumable.

Each transaction but the last also writes where it ended to namespace ``mycelia/loads``::

    key    digest of the file's identity and of what was asked for
    value  {"file", "line", "number", "byte", "loaded", "bad", "dump", "updated_at"}

so a load that was interrupted goes on exactly there when it is run again, with no record lost or doubled. The
identity is the file's name, size, time of change and the digest of its first 64 KiB: an edited file is loaded from
its start. The last transaction removes the record, and the namespace when no other load is under way.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final, NamedTuple

from . import dumps
from .contract import Entry, StorageBackend, check_ttl
from .copying import ENTRY_ERRORS, restore_entries
from .errors import InvalidInput, KeyExists, NamespaceNotEmpty, NamespaceNotFound
from .names import Namespace, check_namespace
from .records import Place, Record, RecordFile

#: Where unfinished loads are kept.
LOADS_NAMESPACE: Final = "mycelia/loads"

#: A transaction ends at this many bytes of the file, or at ``batch_size`` records.
BATCH_BYTES: Final = 16 * 2**20

_DIGESTED: Final = 64 * 1024


@dataclass(frozen=True)
class LoadOptions:
    """What to make of a record. Only ``overwrite``, ``strict``, ``batch_size`` and ``restart`` apply to a dump."""

    key: str | None = None
    """The field that holds the key: a string, or a number, whose JSON text is the key. It stays in the value.
    Not needed for the members of a JSON object, which have names."""
    metadata_fields: tuple[str, ...] = ()
    """Fields that go into the metadata as well, where a record has them."""
    ttl: float | None = None
    """Seconds."""
    overwrite: bool = True
    """False leaves keys alone that exist already; they are counted as ``kept``."""
    detect_numbers: bool = False
    """CSV: cells that are the JSON text of a number, ``true`` or ``false`` become one."""
    strict: bool = False
    """Stop at the first bad record and undo its transaction."""
    batch_size: int = 1000
    """Records in a transaction."""
    restart: bool = False
    """Do not go on where an interrupted load ended."""


@dataclass
class LoadReport:
    """What a load did so far. An interrupted load's earlier part counts."""

    loaded: int = 0
    kept: int = 0
    bad: int = 0
    resumed_at: int | None = None
    """The line where this run went on."""
    stopped_at: int | None = None
    """The bad line where a strict load ended."""
    committed_line: int = 0
    """Every line up to this one is dealt with."""
    namespaces: list[str] = field(default_factory=list)


class BadRecord(NamedTuple):
    """A record that was not stored, and why."""

    line: int
    problem: str


def load_records(
    storage: StorageBackend,
    namespace: Namespace | None,
    source: RecordFile,
    options: LoadOptions,
    *,
    report_bad: Callable[[BadRecord], None] | None = None,
    progress: Callable[[int], None] | None = None,
) -> LoadReport:
    """Load ``source`` into ``namespace``; None loads a dump of several namespaces into its own.

    ``report_bad`` hears of each bad record, ``progress`` the bytes of the file read so far. Raises InvalidInput for
    options that break a rule or do not fit the file; StorageError when the storage fails, after which the same call
    goes on where it ended.
    """
    check_ttl(options.ttl)
    if not isinstance(options.batch_size, int) or options.batch_size < 1:
        raise InvalidInput("batch_size is a whole number over 0")
    target = None if namespace is None else check_namespace(namespace)
    return _Load(storage, target, source, options, report_bad, progress).run()


class _Load:
    def __init__(
        self,
        storage: StorageBackend,
        namespace: str | None,
        source: RecordFile,
        options: LoadOptions,
        report_bad: Callable[[BadRecord], None] | None,
        progress: Callable[[int], None] | None,
    ) -> None:
        self.storage = storage
        self.namespace = namespace
        self.source = source
        self.options = options
        self.report = LoadReport()
        self._report_bad = report_bad
        self._progress = progress
        self._progress_key = _identity(source, namespace, options)
        self._saw_end = False

    def run(self) -> LoadReport:
        place, saved = Place(), None
        if self._progress_key is not None and not self.options.restart:
            saved = self.storage.get(self._progress_key, namespace=LOADS_NAMESPACE)
        if saved is not None:
            place = Place(saved["line"], saved["number"], saved["byte"])
            self.report.resumed_at = place.line
            self.report.loaded, self.report.kept, self.report.bad = saved["loaded"], saved["kept"], saved["bad"]
            self.report.committed_line = place.line - 1
        records = self.source.records(place)
        first = next(records, None)
        is_dump = saved["dump"] if saved is not None else first is not None and dumps.is_dump_header(first.value)
        self._check_fit(first, is_dump)
        records = records if first is None else chain([first], records)
        wrote_progress = saved is not None or self.options.restart
        batches = _batches(records, self.options.batch_size)
        if is_dump and self.namespace is None and not self.storage.transactions_span_namespaces:
            batches = _split_by_top(batches)
        for batch, is_last in batches:
            if not batch and not wrote_progress:
                break
            if not self._load_batch(batch, is_dump, is_last, wrote_progress):
                return self.report
            wrote_progress = True
            if self._progress is not None:
                self._progress(self.source.bytes_read())
        if is_dump and not self._saw_end:
            self._bad(self.report.committed_line + 1, "the dump ends early: its last line is missing")
        return self.report

    def _check_fit(self, first: Record | None, is_dump: bool) -> None:
        if self.namespace is None and not is_dump and first is not None:
            raise InvalidInput("this file is no dump: name the namespace to load it into")
        plain = first is not None and not is_dump and first.name is None
        if plain and self.options.key is None:
            raise InvalidInput("name the field that holds the key")

    def _load_batch(self, batch: list[Record], is_dump: bool, is_last: bool, wrote_progress: bool) -> bool:
        """Load one transaction's worth; False when a strict load must stop."""
        loaded, kept = self.report.loaded, self.report.kept
        bad: list[BadRecord] = []
        try:
            with self.storage.transaction() as tx:
                if is_dump:
                    self._write_dump(tx, batch, bad)
                else:
                    self._write_records(tx, batch, bad)
                if bad and self.options.strict:
                    raise _Stopped
                if self._progress_key is not None and self.storage.transactions_span_namespaces:
                    self._save_progress(tx, batch, len(bad), is_dump, is_last, wrote_progress)
        except _Stopped:
            self.report.loaded, self.report.kept = loaded, kept
            first = min(bad)
            self.report.stopped_at = first.line
            self._bad(*first)
            return False
        except BaseException:
            self.report.loaded, self.report.kept = loaded, kept
            raise
        if self._progress_key is not None and not self.storage.transactions_span_namespaces:
            # A load that stops just here begins again with this batch, which is then there already.
            self._save_progress(self.storage, batch, len(bad), is_dump, is_last, wrote_progress)
        for line, problem in sorted(bad):
            self._bad(line, problem)
        if batch:
            self.report.committed_line = batch[-1].line
        return True

    def _write_records(self, tx: StorageBackend, batch: list[Record], bad: list[BadRecord]) -> None:
        assert self.namespace is not None
        pending: dict[str, tuple[int, dict[str, Any]]] = {}
        for record in batch:
            if record.error is not None:
                bad.append(BadRecord(record.line, record.error))
                if self.options.strict:
                    return
                continue
            try:
                key, item = self._item(record)
            except InvalidInput as error:
                bad.append(BadRecord(record.line, str(error)))
                continue
            if key in pending:
                # One line for each key and call, so that an error names its line.
                self._write_items(tx, pending, bad)
                pending = {}
            pending[key] = record.line, item
        self._write_items(tx, pending, bad)

    def _write_items(
        self, tx: StorageBackend, pending: dict[str, tuple[int, dict[str, Any]]], bad: list[BadRecord]
    ) -> None:
        if not pending:
            return
        assert self.namespace is not None
        result = tx.set_many(
            (item for _, item in pending.values()),
            namespace=self.namespace,
            overwrite=self.options.overwrite,
            ttl=self.options.ttl,
            atomic=False,
        )
        self.report.loaded += result.written
        for (_, key), error in result.errors.items():
            if isinstance(error, KeyExists):
                self.report.kept += 1
            elif not isinstance(error, ENTRY_ERRORS):
                raise error
            else:
                bad.append(BadRecord(pending[key][0], str(error)))

    def _item(self, record: Record) -> tuple[str, dict[str, Any]]:
        value = record.value
        fields = value if isinstance(value, dict) else {}
        if self.options.key is None:
            key: Any = record.name
        elif self.options.key in fields:
            key = fields[self.options.key]
            if isinstance(key, int | float) and not isinstance(key, bool):
                key = json.dumps(key)
        else:
            problem = "no such field" if isinstance(value, dict) else "the record is not an object"
            raise InvalidInput(f"no key: {problem} ({self.options.key!r})")
        if not isinstance(key, str):
            raise InvalidInput(f"no key: {self.options.key!r} is neither a string nor a number")
        if self.options.detect_numbers and self.source.format == "csv":
            value = fields = {name: _detected(cell) for name, cell in fields.items()}
        metadata = {name: fields[name] for name in self.options.metadata_fields if name in fields}
        return key, {"key": key, "value": value, "metadata": metadata or None}

    def _write_dump(self, tx: StorageBackend, batch: list[Record], bad: list[BadRecord]) -> None:
        entries: dict[tuple[str, str], tuple[int, Entry]] = {}

        def flush() -> None:
            if not entries:
                return
            result = restore_entries(tx, [entry for _, entry in entries.values()])
            self.report.loaded += result.stored + result.unchanged
            for entry, error in result.refused:
                bad.append(BadRecord(entries[entry.namespace, entry.key][0], str(error)))
            entries.clear()

        for record in batch:
            try:
                if record.error is not None:
                    raise InvalidInput(record.error)
                line = dumps.parse_dump_line(record.value)
                if isinstance(line, Entry):
                    entry = line if self.namespace is None else line._replace(namespace=self.namespace)
                    if (entry.namespace, entry.key) in entries:
                        flush()
                    if not self.options.overwrite and tx.has(entry.key, namespace=entry.namespace):
                        self.report.kept += 1
                    else:
                        entries[entry.namespace, entry.key] = record.line, entry
                else:
                    flush()
                    self._apply(tx, line)
            except _WrongDump:
                raise
            except ENTRY_ERRORS as error:
                bad.append(BadRecord(record.line, str(error)))
                if self.options.strict:
                    return
        flush()

    def _apply(self, tx: StorageBackend, line: dumps.DumpLine) -> None:
        if isinstance(line, dumps.Header):
            if self.namespace is not None and line.namespaces != 1:
                raise _WrongDump(f"this dump has {line.namespaces} namespaces: load it with --all")
        elif isinstance(line, dumps.NamespaceLine):
            tx.create_namespace(
                self.namespace or line.namespace,
                metadata=line.metadata or None,
                exist_ok=True,
                track_changes=line.track_changes,
            )
        elif isinstance(line, dumps.IndexLine):
            tx.create_index(self.namespace or line.namespace, line.declaration, name=line.name)
        elif isinstance(line, dumps.End):
            self._saw_end = True

    def _save_progress(
        self, tx: StorageBackend, batch: list[Record], bad: int, is_dump: bool, is_last: bool, wrote_progress: bool
    ) -> None:
        assert self._progress_key is not None
        if not is_last:
            last = batch[-1]
            following = {
                "file": self.source.path.name if self.source.path is not None else None,
                "line": last.line + 1,
                "number": last.number,
                "byte": last.next_byte,
                "loaded": self.report.loaded,
                "kept": self.report.kept,
                "bad": self.report.bad + bad,
                "dump": is_dump,
                "updated_at": time.time_ns() // 1_000_000,
            }
            tx.set(self._progress_key, following, namespace=LOADS_NAMESPACE)
        elif wrote_progress:
            tx.delete(self._progress_key, namespace=LOADS_NAMESPACE)
            try:
                tx.delete_namespace(LOADS_NAMESPACE)
            except (NamespaceNotEmpty, NamespaceNotFound):
                pass

    def _bad(self, line: int, problem: str) -> None:
        self.report.bad += 1
        if self._report_bad is not None:
            self._report_bad(BadRecord(line, problem))


class _Stopped(Exception):
    pass


class _WrongDump(InvalidInput):
    """Not a bad line but the wrong command."""


_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def _detected(cell: str) -> Any:
    if cell in ("true", "false"):
        return cell == "true"
    return json.loads(cell) if _NUMBER.fullmatch(cell) else cell


def _split_by_top(batches: Iterable[tuple[list[Record], bool]]) -> Iterator[tuple[list[Record], bool]]:
    """Batches of a dump cut where another top-level namespace begins."""
    for batch, is_last in batches:
        part: list[Record] = []
        top = None
        for record in batch:
            namespace = record.value.get("namespace") if isinstance(record.value, dict) else None
            own = namespace.partition("/")[0] if isinstance(namespace, str) else top
            if part and top is not None and own != top:
                yield part, False
                part = []
            part.append(record)
            top = own
        yield part, is_last


def _batches(records: Iterable[Record], batch_size: int) -> Iterator[tuple[list[Record], bool]]:
    """Bounded runs of records, each with whether it is the last; the last may be empty."""
    batch: list[Record] = []
    size = 0
    for record in records:
        batch.append(record)
        size += record.size
        if len(batch) >= batch_size or size >= BATCH_BYTES:
            yield batch, False
            batch, size = [], 0
    yield batch, True


def _identity(source: RecordFile, namespace: str | None, options: LoadOptions) -> str | None:
    """Names this load of this file; None for a stream, which cannot be read again."""
    if source.path is None:
        return None
    with source.path.open("rb") as content:
        digest = hashlib.sha256(content.read(_DIGESTED)).hexdigest()
    status = source.path.stat()
    identity = [
        source.path.name,
        status.st_size,
        status.st_mtime_ns,
        digest,
        source.format,
        namespace,
        options.key,
        options.metadata_fields,
        options.ttl,
        options.overwrite,
        options.detect_numbers,
    ]
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()
