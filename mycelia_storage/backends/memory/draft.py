"""Writing: a Draft makes the next state of the memory backend from the one before."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ...clock import HybridClock
from ...contract import Change, Entry, Operation
from ...errors import (
    InvalidInput,
    InvalidNamespace,
    KeyExists,
    KeyNotFound,
    NamespaceExists,
    NamespaceNotEmpty,
    NamespaceNotFound,
    UniqueViolation,
    VersionConflict,
)
from ...field_paths import parse_path
from ...indexes import FieldIndex, Index
from ...names import DEFAULT_NAMESPACE, check_key, check_namespace
from ...values import Stored, decode_metadata, encode_metadata, encode_value
from .ordered import SortedMap
from .state import Row, Space, State, now_ms, unique_text

MAX_VERSION = 2**62


class Draft:
    """A state being made. A method that raises may leave it half changed: throw it away then."""

    def __init__(self, base: State, clock: HybridClock) -> None:
        self.state = base.fork()
        self._clock = clock
        self._now = now_ms()
        self._own: set[str] = set()

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
        if_version: int | None,
    ) -> int:
        """Store an entry with every rule of ``set``; its new version."""
        old = self.state.live_row(namespace, key)
        actual = 0 if old is None else old.version
        if if_version is not None and if_version != actual:
            raise VersionConflict(namespace, key, if_version, actual)
        if old is not None and not overwrite:
            raise KeyExists(namespace, key)
        expires_at = None if ttl is None else self._now + max(1, round(ttl * 1000))
        created_at = self._now if old is None else old.created_at
        row = Row(value, metadata, self._clock.tick(), created_at, self._now, expires_at)
        self._store(self._space(namespace), key, row)
        return row.version

    def remove(self, namespace: str, key: str, if_version: int | None) -> bool:
        """Delete an entry with every rule of ``delete``; whether it existed."""
        row = self.state.live_row(namespace, key)
        actual = 0 if row is None else row.version
        if if_version is not None and if_version != actual:
            raise VersionConflict(namespace, key, if_version, actual)
        if row is None:
            return False
        self._drop(self._space(namespace), key, "delete")
        return True

    def set_metadata(self, namespace: str, key: str, metadata: dict[str, Any], merge: bool) -> int:
        """Merge into or replace the metadata of an entry; its new version."""
        row = self.state.live_row(namespace, key)
        if row is None:
            raise KeyNotFound(namespace, key)
        text = encode_metadata(decode_metadata(row.metadata) | metadata if merge else metadata)
        row = row._replace(metadata=text, version=self._clock.tick(), updated_at=self._now)
        self._store(self._space(namespace), key, row)
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
            old = self.state.live_row(namespace, key)
            self._clock.observe(row.version)
            if old is not None and row.version <= old.version:
                row = row._replace(version=self._clock.tick())
            self._store(self._space(namespace), key, row)
            stored += 1
        return stored

    def clear(self, namespace: str | None) -> int:
        """Empty one namespace, or all; how many entries went."""
        if namespace is not None:
            return 0 if self.state.spaces.get(namespace) is None else self._clear(namespace)
        return sum(self._clear(name) for name in [name for name, _ in self.state.spaces.items()])

    def sweep(self) -> int:
        """Remove the expired entries; how many."""
        removed = 0
        for name in [space.name for space in self.state.spaces.values() if any(space.expired(self._now))]:
            space = self._space(name)
            for key in list(space.expired(self._now)):
                self._drop(space, key, "expire")
                removed += 1
        return removed

    # -- namespaces and indexes ------------------------------------------------------------------------------------

    def create_namespace(self, name: str, metadata: str | None, *, given: bool, exist_ok: bool, tracked: bool) -> None:
        """Create or, with ``exist_ok``, change a namespace. ``given``: metadata was given, if only ``{}``."""
        if self.state.spaces.get(name) is not None and not exist_ok:
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
            self.state.spaces.pop(space.name)
            self._own.discard(space.name)
            last = max((seq for seq, _ in space.log.items()), default=0)
            if max(last, space.pruned_through):
                self.state.dropped.put(space.name, max(last, space.pruned_through))
        return entries

    def create_index(self, namespace: str, index: Index, name: str | None) -> str:
        """Build an index; its name."""
        if not isinstance(index, FieldIndex):
            raise InvalidInput(f"the memory backend keeps no {type(index).__name__}")
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
        space.indexes[name] = index
        if index.unique:
            space.unique[name] = SortedMap()
            for key, row in list(space.rows.items()):
                if row.is_live(self._now):
                    self._claim(space, name, key, row.entry(namespace, key))
        return name

    def drop_index(self, namespace: str, name: str) -> bool:
        """Remove an index; whether it existed."""
        space = self.state.spaces.get(namespace)
        if space is None or name not in space.indexes:
            return False
        space = self._space(namespace)
        space.unique.pop(name, None)
        del space.indexes[name]
        return True

    # -- changes ---------------------------------------------------------------------------------------------------

    def prune(self, names: Iterable[str], keep: int, max_age: float | None) -> None:
        """Drop all but the newest ``keep`` changes of each namespace, and those older than ``max_age`` seconds."""
        oldest = None if max_age is None else self._now - int(max_age * 1000)
        for name in names:
            space = self.state.spaces.get(name)
            if space is None or not len(space.log):
                continue
            surplus = len(space.log) - keep
            gone = []
            for place, (seq, change) in enumerate(space.log.items()):
                if place >= surplus and (oldest is None or change.at >= oldest):
                    break
                gone.append(seq)
            if gone:
                space = self._space(name)
                for seq in gone:
                    space.log.pop(seq)
                space.pruned_through = gone[-1]

    @property
    def touched(self) -> set[str]:
        """The namespaces written to."""
        return self._own

    # -- the parts -------------------------------------------------------------------------------------------------

    def _space(self, name: str) -> Space:
        """The namespace, to be changed; made if it is new."""
        space = self.state.spaces.get(name)
        if space is None or name not in self._own:
            # A reader of an earlier namespace of this name must still learn what it has missed.
            lost = 0 if space is not None else self.state.dropped.pop(name) or 0
            space = Space(name, pruned_through=lost) if space is None else space.fork()
            self.state.spaces.put(name, space)
            self._own.add(name)
        return space

    def _store(self, space: Space, key: str, row: Row) -> None:
        if space.unique:
            entry = row.entry(space.name, key)
            self._release(space, key)
            for name in space.unique:
                self._claim(space, name, key, entry)
        old = space.rows.get(key)
        if old is not None and old.expires_at is not None:
            space.expiring.pop((old.expires_at, key))
        if row.expires_at is not None:
            space.expiring.put((row.expires_at, key), None)
        space.rows.put(key, row)
        self._log(space, key, "set", row.version)

    def _drop(self, space: Space, key: str, operation: Operation) -> None:
        self._release(space, key)
        row = space.rows.pop(key)
        if row is not None and row.expires_at is not None:
            space.expiring.pop((row.expires_at, key))
        self._log(space, key, operation, self._clock.tick())

    def _clear(self, name: str) -> int:
        space = self.state.spaces.get(name)
        if space is None or not len(space.rows):
            return 0
        entries = space.count(self._now)
        space = self._space(name)
        space.rows, space.expiring = SortedMap(), SortedMap()
        space.unique = {index: SortedMap() for index in space.unique}
        if entries:
            self._log(space, None, "clear", self._clock.tick())
        return entries

    def _claim(self, space: Space, name: str, key: str, entry: Entry) -> None:
        """Enter an entry into a unique index. An expired entry in its way is swept."""
        index = space.indexes[name]
        text = unique_text(index, entry)
        if text is None:
            return
        holder = space.unique[name].get(text)
        if holder is not None and holder != key:
            row = space.rows.get(holder)
            if row is not None and row.is_live(self._now):
                raise UniqueViolation(
                    f"key {key!r} in namespace {space.name!r}: another entry has its values for index {name!r}"
                )
            self._drop(space, holder, "expire")
        space.unique[name].put(text, key)

    def _release(self, space: Space, key: str) -> None:
        """Take an entry out of the unique indexes."""
        row = space.rows.get(key) if space.unique else None
        if row is None:
            return
        entry = row.entry(space.name, key)
        for name, held in space.unique.items():
            text = unique_text(space.indexes[name], entry)
            if text is not None and held.get(text) == key:
                held.pop(text)

    def _log(self, space: Space, key: str | None, operation: Operation, version: int) -> None:
        if space.tracked:
            self.state.last_seq += 1
            seq = self.state.last_seq
            space.log.put(seq, Change(seq, space.name, key, operation, version, self._now))
