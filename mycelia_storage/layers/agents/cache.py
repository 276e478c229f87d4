"""The cache: values under the agent's keys, with an expiry that the storage keeps, and compare-and-set."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from ...contract import StorageBackend
from ...errors import InvalidInput
from ...filters import identity
from ...names import join_key
from .binding import Bound, now
from .plain_json import clean_json, clean_text
from .record_fields import check_time

#: Keys longer than this, in bytes, are kept under their SHA-256, the key itself in the entry's metadata.
_LONGEST_KEY: Final = 800


class _Absent:
    def __repr__(self) -> str:
        return "ABSENT"


#: For compare_and_set_cache: nothing may be stored under the key.
ABSENT: Final = _Absent()


class Cache(Bound):
    """The methods on the cache. Two agents never see each other's values."""

    def get_cache(self, key: str, default: Any = None) -> Any:
        """The value, or ``default`` where there is none or it has expired; a stored null is None."""
        return self._storage.get(self._cache_key(key), default, namespace=self._places.cache)

    def get_caches(self, keys: Iterable[str]) -> dict[str, Any]:
        """The values of the keys that are there."""
        wanted = {self._cache_key(key): key for key in _keys(keys)}
        found = self._storage.get_many(wanted, namespace=self._places.cache)
        return {wanted[key]: value for key, value in found.items()}

    def set_cache(self, key: str, value: Any, *, ttl: float | None = None, expires_at: int | None = None) -> bool:
        """Store a value; True. ``ttl`` in seconds or ``expires_at`` in milliseconds says when it expires; without
        either it never does, whatever was said before. The creation time of the key stays.
        """
        return self.set_caches({key: value}, ttl=ttl, expires_at=expires_at)

    def set_caches(
        self, entries: Mapping[str, Any], *, ttl: float | None = None, expires_at: int | None = None
    ) -> bool:
        """The same for several, all or none."""
        items = [self._cache_item(key, value) for key, value in entries.items()]
        seconds, gone = _seconds(ttl, expires_at)
        if gone:
            self.delete_caches(entries)
        elif items:
            self._storage.set_many(items, ttl=seconds)
        return True

    def delete_cache(self, key: str) -> bool:
        """Delete a value; True, also if there was none."""
        return self.delete_caches([key])

    def delete_caches(self, keys: Iterable[str]) -> bool:
        """The same for several, all or none."""
        self._storage.delete_many([self._cache_key(key) for key in _keys(keys)], namespace=self._places.cache)
        return True

    def compare_and_set_cache(
        self,
        key: str,
        expected: Any,
        replacement: Any,
        *,
        ttl: float | None = None,
        expires_at: int | None = None,
    ) -> bool:
        """Store ``replacement`` if what is stored equals ``expected`` as JSON, or if nothing is and it is ABSENT;
        whether it was stored. Of several who race, one is told True.
        """
        item, stored = self._cache_item(key, replacement), self._cache_key(key)
        wanted = None if expected is ABSENT else identity(clean_json(expected, "expected"))
        seconds, gone = _seconds(ttl, expires_at)

        def swap(tx: StorageBackend) -> bool:
            entry = tx.get_entry(stored, namespace=self._places.cache)
            if (entry is None) != (expected is ABSENT):
                return False
            if entry is not None and identity(entry.value) != wanted:
                return False
            if gone:
                tx.delete(stored, namespace=self._places.cache)
            else:
                tx.set_many([item], ttl=seconds)
            return True

        return self._write(swap)

    def update_cache(self, key: str, function: Callable[[Any], Any], default: Any = None) -> Any:
        """Replace the value by ``function(value)``, called with ``default`` where there is none; the new value.

        No other writer comes between; ``function`` may be called again. The expiry stays.
        """
        stored = self._cache_key(key)

        def update(tx: StorageBackend) -> Any:
            entry = tx.get_entry(stored, namespace=self._places.cache)
            new = clean_json(function(default if entry is None else entry.value), "value")
            left = None if entry is None or entry.expires_at is None else (entry.expires_at - now()) / 1000
            if left is None or left > 0:
                tx.set_many([self._cache_item(key, new)], ttl=left)
            return new

        return self._write(update)

    def _cache_key(self, key: str) -> str:
        if not isinstance(key, str) or not key:
            raise InvalidInput("a cache key is a non-empty string")
        key = clean_text(key)
        encoded = key.encode()
        if len(encoded) > _LONGEST_KEY:
            key = "sha256:" + hashlib.sha256(encoded).hexdigest()
        return join_key(self._agent_id, key)

    def _cache_item(self, key: str, value: Any) -> dict[str, Any]:
        stored = self._cache_key(key)
        metadata = {"key": clean_text(key)} if len(key.encode(errors="replace")) > _LONGEST_KEY else None
        item = {"namespace": self._places.cache, "key": stored, "value": clean_json(value, "value")}
        return item if metadata is None else {**item, "metadata": metadata}


def _keys(keys: Iterable[str]) -> list[str]:
    if isinstance(keys, str):
        raise InvalidInput("keys is a list of strings")
    return list(keys)


def _seconds(ttl: float | None, expires_at: int | None) -> tuple[float | None, bool]:
    """The seconds that are left, and whether none are."""
    if ttl is not None and expires_at is not None:
        raise InvalidInput("give ttl or expires_at, not both")
    if expires_at is None:
        return ttl, False
    left = (check_time(expires_at, "expires_at") - now()) / 1000
    return (None, True) if left <= 0 else (left, False)
