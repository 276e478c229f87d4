"""Writing: a Draft makes the next state from the one before, with every rule of the contract."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..clock import HybridClock
from ..contract import Change, Entry, Operation
from ..errors import (
    IndexFull,
    InvalidInput,
    InvalidNamespace,
    InvalidValue,
    KeyExists,
    KeyNotFound,
    NamespaceExists,
    NamespaceNotEmpty,
    NamespaceNotFound,
    StorageError,
    UniqueViolation,
    VersionConflict,
)
from ..field_paths import parse_path
from ..indexes import FieldIndex, Index, TextIndex, VectorIndex
from ..names import DEFAULT_NAMESPACE, check_key, check_namespace
from ..similarity import check_vector
from ..values import Stored, decode_metadata, encode_metadata, encode_value
from .state import Row, Space, State, now_ms

MAX_VERSION = 2**62

#: An item of a batch: namespace, key, value and metadata as stored, ttl in seconds.
EncodedItem = tuple[str, str, Stored, str | None, float | None]


class Draft:
    """A state being made. Methods for one entry that raise have changed nothing; after another, throw it away."""

    def __init__(self, base: State, clock: HybridClock) -> None:
        self.state = base.fork()
        self._clock = clock
        self._now = now_ms()
        self._own: dict[str, Space] = {}
        self._gone: set[str] = set()

    # -- entries ---------------------------------------------------------------------------------------------------

    def put(
        self,
        namespace: str,
        key: str,
        value: Stored,
        metadata: str | None,
        *,
        overwrite: bool,
        ttl: float | None,
        if_version: int | None = None,
    ) -> int:
        """Store an entry with every rule of ``set``; its new version."""
        space, old = self._find(namespace, key)
        live = old if old is not None and old.is_live(self._now) else None
        actual = 0 if live is None else live.version
        if if_version is not None and if_version != actual:
            raise VersionConflict(namespace, key, if_version, actual)
        if live is not None and not overwrite:
            raise KeyExists(namespace, key)
        expires_at = None if ttl is None else self._now + max(1, round(ttl * 1000))
        created_at = self._now if live is None else live.created_at
        row = Row(value, metadata, self._clock.tick(), created_at, self._now, expires_at)
        self._store(self._own_space(namespace, space), key, row, old)
        return row.version

    def put_items(
        self, items: Iterable[EncodedItem], overwrite: bool, errors: dict[tuple[str, str], StorageError]
    ) -> int:
        """Store the items of a batch; how many. Those that are refused go into ``errors``."""
        written = 0
        for namespace, key, value, metadata, ttl in items:
            try:
                self.put(namespace, key, value, metadata, overwrite=overwrite, ttl=ttl)
            except (InvalidValue, KeyExists, UniqueViolation, IndexFull) as error:
                errors[namespace, key] = error
            else:
                written += 1
        return written

    def remove(self, namespace: str, key: str, if_version: int | None = None) -> bool:
        """Delete an entry with every rule of ``delete``; whether it existed."""
        space, old = self._find(namespace, key)
        live = old is not None and old.is_live(self._now)
        actual = old.version if live and old is not None else 0
        if if_version is not None and if_version != actual:
            raise VersionConflict(namespace, key, if_version, actual)
        if not live or old is None:
            return False
        self._drop(self._own_space(namespace, space), key, old, "delete")
        return True

    def set_metadata(self, namespace: str, key: str, metadata: dict[str, Any], merge: bool) -> int:
        """Merge into or replace the metadata of an entry; its new version."""
        space, old = self._find(namespace, key)
        if old is None or not old.is_live(self._now):
            raise KeyNotFound(namespace, key)
        text = encode_metadata(decode_metadata(old.metadata) | metadata if merge else metadata)
        row = old._replace(metadata=text, version=self._clock.tick(), updated_at=self._now)
        self._store(self._own_space(namespace, space), key, row, old)
        return row.version

    def restore(self, entries: Iterable[Entry]) -> int:
        """Store entries with their own version, times and expiry; how many."""
        stored = 0
        for entry in entries:
            namespace, key = check_namespace(entry.namespace), check_key(entry.key)
            times = (entry.created_at, entry.updated_at, entry.expires_at or 0)
            if not all(type(number) is int for number in (entry.version, *times)):
                raise InvalidInput(f"entry {key!r} of namespace {namespace!r} has no good version or times")
            if not 1 <= entry.version <= MAX_VERSION or not all(0 <= number < 2**63 for number in times):
                raise InvalidInput(f"entry {key!r} of namespace {namespace!r} has a version or time out of range")
            row = Row(encode_value(entry.value), encode_metadata(entry.metadata), *entry[4:])
            if not row.is_live(self._now):
                continue
            space, old = self._find(namespace, key)
            self._clock.observe(row.version)
            if old is not None and old.is_live(self._now) and row.version <= old.version:
                row = row._replace(version=self._clock.tick())
            self._store(self._own_space(namespace, space), key, row, old)
            stored += 1
        return stored

    def clear(self, namespace: str | None) -> int:
        """Empty one namespace, or all; how many entries went."""
        return sum(self._clear(name) for name in ([*self.state.names()] if namespace is None else [namespace]))

    def sweep(self) -> int:
        """Remove the expired entries; how many."""
        removed = 0
        for name in self.state.names_with_expired(self._now):
            space = self._space(name)
            for key in [*space.expired(self._now)]:
                removed += self._expire(space, key)
        return removed

    # -- namespaces and indexes ------------------------------------------------------------------------------------

    def create_namespace(self, name: str, metadata: str | None, *, given: bool, exist_ok: bool, tracked: bool) -> None:
        """Create or, with ``exist_ok``, change a namespace. ``given``: metadata was given, if only ``{}``."""
        if self.state.space(name) is not None and not exist_ok:
            raise NamespaceExists(f"namespace {name!r} already exists")
        space = self._space(name)
        if given:
            space.metadata = metadata
        space.tracked = space.tracked or tracked

    def delete_namespace(self, name: str, recursive: bool) -> int:
        """Delete a namespace with every rule of the contract; how many entries went."""
        if name == DEFAULT_NAMESPACE:
            raise InvalidNamespace("namespace 'default' always exists")
        family = self.state.family(name)
        if not family or (name not in family and not recursive):
            raise NamespaceNotFound(f"no namespace {name!r}" + (", only some below it" if family else ""))
        spaces = [self._space(member) for member in family]
        entries = sum(space.count(self._now) for space in spaces)
        if not recursive and (entries or len(family) > 1):
            raise NamespaceNotEmpty(f"namespace {name!r} has entries or namespaces below it")
        for space in spaces:
            self._own.pop(space.name)
            self._gone.add(space.name)
            lost = max(space.last_change(), space.pruned_through)
            self._clock.observe(space.vectors_through)
            self.state.drop_space(space, lost)
            self.state.lost_through = max(self.state.lost_through, lost)
        return entries

    def create_index(self, namespace: str, index: Index, name: str | None) -> str:
        """Build an index; its name."""
        if not isinstance(index, Index):
            raise InvalidInput(f"{type(index).__name__} is no declaration of an index")
        if isinstance(index, FieldIndex):
            for path in index.paths:
                parse_path(path)
        name = index.default_name if name is None else name
        if not isinstance(name, str) or not name or "\0" in name:
            raise InvalidInput("the name of an index is a non-empty string without NUL")
        space = self._space(namespace)
        if name in space.indexes:
            if space.indexes[name] != index:
                raise InvalidInput(f"index {name!r} of namespace {namespace!r} has another declaration")
            return name
        space.add_index(name, index)
        if isinstance(index, VectorIndex):
            space.begin_vector_log(self._clock.tick())
        for key, row in space.fork().rows():
            if row.is_live(self._now) or isinstance(index, TextIndex):
                entry = row.entry(namespace, key)
                if isinstance(index, VectorIndex):
                    check_vector(row.value, index, namespace, key)
                elif isinstance(index, FieldIndex) and index.unique and space.holder(name, entry) is not None:
                    raise _violation(space, name, key)
                space.enter(name, entry)
        if isinstance(index, VectorIndex) and space.count(self._now) > index.max_vectors:
            raise _index_full(space, name, index)
        return name

    def drop_index(self, namespace: str, name: str) -> bool:
        """Remove an index; whether it existed."""
        space = self.state.space(namespace)
        if space is None or name not in space.indexes:
            return False
        self._clock.observe(space.vectors_through)
        self._space(namespace).remove_index(name)
        return True

    # -- changes ---------------------------------------------------------------------------------------------------

    def prune(self, names: Iterable[str], keep: int, max_age: float | None, slack: int = 0) -> None:
        """Drop all but the newest ``keep`` changes of each namespace, and those older than ``max_age`` seconds.

        ``slack``: only where there are more than that many too many, whatever their age.
        """
        oldest = None if max_age is None else self._now - int(max_age * 1000)
        for name in names:
            space = self.state.space(name)
            if space is None or not space.log_length:
                continue
            surplus = space.log_length - keep
            if slack and surplus <= slack:
                continue
            gone = []
            for place, change in enumerate(space.changes(space.pruned_through)):
                if place >= surplus and (oldest is None or change.at >= oldest):
                    break
                gone.append(change.seq)
            if gone:
                space = self._space(name)
                space.forget_changes(gone)
                space.pruned_through = gone[-1]
                self.state.lost_through = max(self.state.lost_through, gone[-1])

    @property
    def touched(self) -> set[str]:
        """The namespaces written to, those deleted included."""
        return {*self._own, *self._gone}

    # -- the parts -------------------------------------------------------------------------------------------------

    def _find(self, namespace: str, key: str) -> tuple[Space | None, Row | None]:
        """The namespace as it is, and the row of a key, expired or not."""
        space = self._own.get(namespace) or self.state.space(namespace)
        return space, None if space is None else space.row(key)

    def _space(self, name: str) -> Space:
        """The namespace, to be changed; made if it is new."""
        return self._own_space(name, self._own.get(name) or self.state.space(name))

    def _own_space(self, name: str, space: Space | None) -> Space:
        if space is None:
            space = self._own[name] = self.state.new_space(name)
        elif name not in self._own:
            space = self._own[name] = self.state.own_space(space)
        return space

    def _store(self, space: Space, key: str, row: Row, old: Row | None) -> None:
        in_the_way = []
        if space.indexes:
            entry = row.entry(space.name, key)
            for name, index in space.indexes.items():
                if isinstance(index, VectorIndex):
                    check_vector(row.value, index, space.name, key)
                    if old is None and space.stored >= index.max_vectors and not self._make_room(space, index):
                        raise _index_full(space, name, index)
                holder = space.holder(name, entry) if isinstance(index, FieldIndex) and index.unique else None
                if holder is not None:
                    held = space.row(holder)
                    if held is not None and held.is_live(self._now):
                        raise _violation(space, name, key)
                    in_the_way.append(holder)
        for holder in in_the_way:
            self._expire(space, holder)
        space.put(key, row, old)
        self._log(space, key, "set", row.version)

    def _make_room(self, space: Space, index: VectorIndex) -> bool:
        """Whether the namespace has fewer than ``max_vectors`` once the expired ones are gone."""
        for key in [*space.expired(self._now)]:
            self._expire(space, key)
        return space.stored < index.max_vectors

    def _expire(self, space: Space, key: str) -> bool:
        row = space.row(key)
        if row is None:
            return False
        self._drop(space, key, row, "expire")
        return True

    def _drop(self, space: Space, key: str, row: Row, operation: Operation) -> None:
        space.remove(key, row)
        self._log(space, key, operation, self._clock.tick())

    def _clear(self, name: str) -> int:
        space = self.state.space(name)
        if space is None or not space.stored:
            return 0
        entries = space.count(self._now)
        space = self._space(name)
        space.empty()
        if entries:
            self._log(space, None, "clear", self._clock.tick())
        return entries

    def _log(self, space: Space, key: str | None, operation: Operation, version: int) -> None:
        if space.tracked:
            seq = self.state.last_seq + 1
            self.state.last_seq = seq
            space.log(Change(seq, space.name, key, operation, version, self._now))


def _index_full(space: Space, name: str, index: VectorIndex) -> IndexFull:
    return IndexFull(f"index {name!r} of namespace {space.name!r} holds at most {index.max_vectors:,} vectors")


def _violation(space: Space, name: str, key: str) -> UniqueViolation:
    return UniqueViolation(f"key {key!r} in namespace {space.name!r}: another entry has its values for index {name!r}")
