"""The writes of the contract, each one call of a function in the database (schema/postgres).

Written once over ``_call`` and ``_steps``: the storage runs them in a transaction of their own, a transaction in
itself. A namespace with unique, text or vector indexes wants along what they keep of the entry (:mod:`.kept_indexes`);
the client learns so from the first refusal and remembers it, until the namespace's generation changes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

from ...contract import BatchResult, Entries, Entry, check_ttl, check_version
from ...errors import (
    InvalidNamespace,
    InvalidValue,
    KeyExists,
    KeyNotFound,
    NamespaceExists,
    NamespaceNotEmpty,
    NamespaceNotFound,
    StorageBusy,
    UniqueViolation,
    VersionConflict,
)
from ...indexes import Index
from ...names import DEFAULT_NAMESPACE, Namespace, check_key, check_keys, check_namespace
from ...values import encode_metadata
from . import batches, index_making
from .documents import document_text
from .kept_indexes import KeptIndexes, read_kept
from .rows import about, decode_extra, encode
from .searching import PostgresSearches

if TYPE_CHECKING:
    from .transactions import PostgresTransaction

T = TypeVar("T")

SET: Final = "SELECT {s}.storage_set({w}, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
SET_UNIQUE: Final = """SELECT {s}.storage_set({w}, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s,
%s::bigint, %s::bigint[], %s::bytea[])"""
SET_KEPT: Final = """SELECT {s}.storage_set_kept({w}, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s,
%s::bigint, %s::bigint[], %s::bytea[], %s::bigint[], %s::integer[], %s::text[], %s::text[],
%s::bigint[], %s::bigint[], %s::smallint[], %s)"""
DELETE: Final = "SELECT {s}.storage_delete({w}, %s, %s, %s)"
DELETE_MANY: Final = "SELECT {s}.storage_delete_many({w}, %s, %s::text[])"
CLEAR: Final = "SELECT {s}.storage_clear({w}, %s)"
SET_METADATA: Final = "SELECT {s}.storage_set_metadata({w}, %s, %s, %s, %s, %s)"
SET_METADATA_UNIQUE: Final = """SELECT {s}.storage_set_metadata({w}, %s, %s, %s, %s, %s,
%s::bigint, %s::bigint[], %s::bytea[])"""
SET_METADATA_KEPT: Final = """SELECT {s}.storage_set_metadata_kept({w}, %s, %s, %s, %s, %s,
%s::bigint, %s::bigint[], %s::bytea[], %s::bigint[], %s::integer[], %s::text[], %s::text[])"""
CREATE_NAMESPACE: Final = "SELECT {s}.storage_create_namespace({w}, %s, %s, %s, %s)"
DELETE_NAMESPACE: Final = "SELECT {s}.storage_delete_namespace({w}, %s, %s)"
FIND_METADATA: Final = """SELECT metadata, version FROM {s}.storage_entries
WHERE namespace = %s AND tenant = {t} AND key = %s AND {live}"""
FIND_KEPT: Final = """SELECT n.uniques, i.index_id, i.name, i.declaration FROM {s}.storage_namespaces AS n
LEFT JOIN {s}.storage_indexes AS i ON i.tenant = n.tenant AND i.namespace = n.namespace
WHERE n.tenant = {t} AND n.namespace = %s ORDER BY i.index_id"""

#: Answers below 1, as schema/postgres lists them.
_EXISTS, _STALE, _TAKEN, _FULL, _CONFLICT = 0, -1, -2, -3, -10

_TRIES: Final = 100


class PostgresWrites(PostgresSearches):
    """The writing half of a storage or a transaction, over its reading half."""

    #: What is known of indexes that keep something, by namespace; shared by a storage and its transactions.
    _kept: dict[str, KeptIndexes]

    @abstractmethod
    def _call(self, statement: str, parameters: tuple[Any, ...], named: bool = False) -> Any:
        """The one value that a writing statement answers, committed unless a transaction is open. Raises our errors,
        which name the entry if the parameters begin with namespace and key (``named``)."""

    @abstractmethod
    def _steps(self, work: Callable[[PostgresTransaction], T], guarded: bool = True) -> T:
        """Run ``work``, which writes with several statements, whole or not at all. Unless ``guarded``, work inside a
        transaction calls :meth:`PostgresTransaction.guard` before it writes what it may have to undo."""

    def set(
        self,
        key: str,
        value: Any,
        *,
        namespace: Namespace = DEFAULT_NAMESPACE,
        metadata: dict[str, Any] | None = None,
        overwrite: bool = True,
        ttl: float | None = None,
        if_version: int | None = None,
    ) -> int:
        name, key = check_namespace(namespace), check_key(key)
        lives = None
        if ttl is not None:
            check_ttl(ttl)
            lives = int(ttl * 1000)
        if if_version is not None:
            check_version(if_version)
            if_version = min(if_version, 2**63 - 1)  # no entry has either
        parameters = (name, key, *encode(value, metadata), lives, overwrite, if_version)
        version = _STALE if name in self._kept else self._put(parameters)
        if version > 0:
            return version
        if version == _STALE:
            version = self._set_kept(parameters, value, metadata)
            if version > 0:
                return version
        return self._refuse(version, name, key, if_version)

    def _put(self, parameters: tuple[Any, ...]) -> int:
        """What SET answers."""
        return self._call(SET, parameters, True)  # type: ignore[no-any-return]

    def _set_kept(self, parameters: tuple[Any, ...], value: Any, metadata: Any) -> int:
        name, key = parameters[:2]
        entry = Entry(name, key, bytes(value) if _is_bytes(value) else value, metadata or {}, 0, 0, 0, None)
        known = self._kept.get(name) or self._find_kept(name)
        for _ in range(_TRIES):
            try:
                known.check(entry)
            except InvalidValue:
                if known.generation == (known := self._find_kept(name)).generation:
                    raise
                continue
            wanted = (*parameters, known.generation, *known.prints(entry))
            if known.searched:
                version: int = self._call(SET_KEPT, (*wanted, *known.words(entry), *known.embeddings(entry)), True)
            else:
                version = self._call(SET_UNIQUE, wanted, True)
            if version != _STALE:
                return version
            known = self._find_kept(name)
        raise StorageBusy(f"the indexes of namespace {name!r} changed again and again")

    def _find_kept(self, name: str) -> KeptIndexes:
        known = read_kept(self._rows(FIND_KEPT, (name,)))
        if known.generation:
            self._kept[name] = known
        else:
            self._kept.pop(name, None)
        return known

    def _refuse(self, answer: int, name: str, key: str, if_version: int | None) -> NoReturn:
        if answer <= _CONFLICT:
            raise VersionConflict(name, key, if_version or 0, _CONFLICT - answer)
        if answer == _FULL:
            raise self._kept.get(name, KeptIndexes()).full(name)
        if answer == _TAKEN:
            raise UniqueViolation(f"a unique index already holds these values ({about(name, key)})")
        raise KeyExists(name, key)

    def delete(self, key: str, *, namespace: Namespace = DEFAULT_NAMESPACE, if_version: int | None = None) -> bool:
        name, key = check_namespace(namespace), check_key(key)
        check_version(if_version)
        if if_version is not None:
            if_version = min(if_version, 2**63 - 1)
        answer = self._call(DELETE, (name, key, if_version), True)
        if answer <= _CONFLICT:
            raise VersionConflict(name, key, if_version or 0, _CONFLICT - answer)
        return bool(answer)

    def delete_many(self, keys: Iterable[str], *, namespace: Namespace = DEFAULT_NAMESPACE) -> int:
        name = check_namespace(namespace)
        return int(self._call(DELETE_MANY, (name, list(dict.fromkeys(check_keys(keys))))))

    def clear(self, *, namespace: Namespace | None = None) -> int:
        name = None if namespace is None else check_namespace(namespace)
        return int(self._call(CLEAR, (name,)))

    def set_metadata(
        self,
        key: str,
        metadata: dict[str, Any],
        *,
        namespace: Namespace = DEFAULT_NAMESPACE,
        merge: bool = True,
    ) -> int:
        name, key = check_namespace(namespace), check_key(key)
        given = encode_metadata(metadata)
        for _ in range(_TRIES):
            answer = self._set_metadata_once(name, key, metadata, given, merge)
            if answer == _TAKEN:
                self._refuse(answer, name, key, None)
            if answer > 0:
                return answer
        raise StorageBusy(f"the entry changed again and again ({about(name, key)})")

    def _set_metadata_once(self, name: str, key: str, metadata: dict[str, Any], given: str | None, merge: bool) -> int:
        """The new version, or an answer below 1 that says to try again or to give up."""
        version = None
        known = self._kept.get(name)
        if merge and known is None:
            found = self._rows(FIND_METADATA, (name, key))
            if not found:
                self._call(SET_METADATA, (name, key, None, None, 0), True)  # waits, and refuses, like any write
                raise KeyNotFound(name, key)
            stored, version = found[0]
            if stored is not None:
                given = encode_metadata(decode_extra(stored, name, key) | metadata)
        document = None if given is None else document_text(given)
        if known is None:
            answer = self._call(SET_METADATA, (name, key, given, document, version), True)
        else:
            entry = self.get_entry(key, namespace=name)
            if entry is None:
                raise KeyNotFound(name, key)
            changed = entry._replace(metadata=(entry.metadata | metadata) if merge else metadata)
            given = encode_metadata(changed.metadata)
            document = None if given is None else document_text(given)
            wanted = (name, key, given, document, entry.version, known.generation, *known.prints(changed))
            if known.texts:
                answer = self._call(SET_METADATA_KEPT, (*wanted, *known.words(changed)), True)
            else:
                answer = self._call(SET_METADATA_UNIQUE, wanted, True)
        if answer == 0:
            raise KeyNotFound(name, key)
        if answer == _STALE:
            self._find_kept(name)
        return int(answer)

    # -- namespaces and indexes ------------------------------------------------------------------------------------

    def create_namespace(
        self,
        name: Namespace,
        *,
        metadata: dict[str, Any] | None = None,
        exist_ok: bool = False,
        track_changes: bool = False,
    ) -> None:
        checked, stored = check_namespace(name), None if metadata is None else encode_metadata(metadata) or "{}"
        if not self._call(CREATE_NAMESPACE, (checked, stored, bool(exist_ok), bool(track_changes))):
            raise NamespaceExists(f"namespace {checked!r} already exists")

    def delete_namespace(self, name: Namespace, *, recursive: bool = False) -> int:
        checked = check_namespace(name)
        if checked == DEFAULT_NAMESPACE:
            raise InvalidNamespace("namespace 'default' always exists")
        answer = int(self._call(DELETE_NAMESPACE, (checked, bool(recursive))))
        if answer == -3:
            raise NamespaceNotEmpty(f"namespace {checked!r} has entries or namespaces below it")
        if answer < 0:
            raise NamespaceNotFound(f"no namespace {checked!r}" + (", only some below it" if answer == -2 else ""))
        return answer

    def create_index(self, namespace: Namespace, index: Index, *, name: str | None = None) -> str:
        checked = check_namespace(namespace)
        return self._steps(lambda steps: index_making.create(steps, checked, index, name))

    def drop_index(self, namespace: Namespace, name: str) -> bool:
        checked = check_namespace(namespace)
        return self._steps(lambda steps: index_making.drop(steps, checked, name))

    # -- several entries -------------------------------------------------------------------------------------------

    def set_many(
        self,
        entries: Entries,
        *,
        namespace: Namespace = DEFAULT_NAMESPACE,
        metadata: dict[str, Any] | None = None,
        overwrite: bool = True,
        ttl: float | None = None,
        atomic: bool = True,
    ) -> BatchResult:
        batch = batches.Batch(entries, check_namespace(namespace), metadata, ttl, overwrite, atomic)
        return self._steps(batch.write, guarded=False)

    def restore(self, entries: Iterable[Entry]) -> int:
        return self._steps(lambda steps: batches.restore(steps, entries))


def _is_bytes(value: Any) -> bool:
    return isinstance(value, bytes | bytearray | memoryview)
