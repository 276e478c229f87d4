"""The options of the sharded backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ...contract import StorageBackend
from ...errors import InvalidConfig
from ...options import normalise_options
from .cursors import MAX_SHARDS

#: What names a shard: a storage, or what the opener makes one of.
ShardSource = StorageBackend | str | Path | Mapping[str, Any]

OpenShard = Callable[..., StorageBackend]


@dataclass(frozen=True, kw_only=True)
class ShardedSettings:
    """Every option; camelCase spellings are taken too. All others go to each shard that is opened by address."""

    shards: Mapping[str, ShardSource]
    """By name. A list names them ``s0``, ``s1``, ... in its order, which then must not change. A blank one that is not
    part of the storage yet stays in reserve until ``add_shard`` takes it in, so a list can be rolled out beforehand."""
    ring: tuple[str, ...] | None = None
    """At creation: the shards that take namespaces by hash; the others take pinned ones only. None: all."""
    pins: Mapping[str, str] | None = None
    """At creation: top-level namespace -> shard."""
    lease: float = 1.0
    """At creation: seconds for which a client trusts what it knows of a shard; 0 asks after every operation."""
    settle: float | None = None
    """At creation: seconds that a move waits for clients to notice it; None: lease and five more."""
    busy_timeout: int = 5000
    """Milliseconds to wait for the write lock of a shard, or for the end of a move, before StorageBusy."""
    transaction_timeout: float = 60.0
    """Seconds after which a transaction that has touched no shard yet expires; shards limit those that have."""
    read_only: bool = False
    open_shard: OpenShard | None = None
    """Opens a shard by its address, as ``open_storage`` does."""
    shard_options: Mapping[str, Any]

    @classmethod
    def read(cls, config: Mapping[str, Any] | Sequence[ShardSource] | None, options: dict[str, Any]) -> ShardedSettings:
        """Settings from a mapping of options or a list of shards, and keyword options. Raises InvalidConfig."""
        given: dict[str, Any] = {}
        if isinstance(config, Mapping):
            given.update(config)
        elif isinstance(config, Sequence) and not isinstance(config, str | bytes):
            given["shards"] = config
        elif config is not None:
            raise InvalidConfig("a configuration is a mapping of options or a list of shards")
        known = [field.name for field in fields(cls) if field.name != "shard_options"]
        own: dict[str, Any] = {}
        rest: dict[str, Any] = {}
        for name, value in (given | options).items():
            try:
                own |= normalise_options({name: value}, known, "sharded")
            except InvalidConfig:
                rest[name] = value
        own["shards"] = _named(own.get("shards"))
        if rest and all(isinstance(shard, StorageBackend) for shard in own["shards"].values()):
            normalise_options(rest, known, "sharded")  # nobody else takes them: says what is wrong
        for name in ("busy_timeout", "transaction_timeout", "read_only"):
            if name in own:
                rest[name] = own[name]
        if own.get("ring") is not None:
            own["ring"] = tuple(own["ring"])
        settings = cls(**own, shard_options=rest)
        settings._check()
        return settings

    def _check(self) -> None:
        number = self.busy_timeout
        if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < 2**31:
            raise InvalidConfig("busy_timeout is a whole number of at least 0")
        for name in ("lease", "settle"):
            seconds = getattr(self, name)
            if name == "settle" and seconds is None:
                continue
            if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 0 <= seconds < 1e6:
                raise InvalidConfig(f"{name} is a number of seconds of at least 0")
        seconds = self.transaction_timeout
        if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 0 < seconds < 1e9:
            raise InvalidConfig("transaction_timeout is a number of seconds over 0")
        if self.settle is not None and self.settle < self.lease * 1.25:
            raise InvalidConfig("settle is at least 1.25 times lease, or clients could miss the start of a move")
        unknown = {*(self.ring or ()), *(self.pins or {}).values()} - set(self.shards)
        if unknown:
            raise InvalidConfig(f"ring and pins name shards that are not given: {', '.join(sorted(unknown))}")
        if self.ring is not None and not self.ring:
            raise InvalidConfig("a ring has at least one shard")


def _named(shards: Any) -> dict[str, ShardSource]:
    if isinstance(shards, Mapping):
        named = dict(shards)
    elif isinstance(shards, Sequence) and not isinstance(shards, str | bytes):
        named = {f"s{number}": shard for number, shard in enumerate(shards)}
    else:
        raise InvalidConfig("the sharded backend needs shards: a list of storages or addresses, or a mapping by name")
    if not 1 <= len(named) <= MAX_SHARDS:
        raise InvalidConfig(f"a sharded storage has 1 to {MAX_SHARDS} shards")
    for name, shard in named.items():
        if not isinstance(name, str) or not name or "\0" in name:
            raise InvalidConfig("the name of a shard is a non-empty string")
        if not isinstance(shard, StorageBackend | str | Path | Mapping):
            raise InvalidConfig(f"shard {name!r} is a storage or an address, not {type(shard).__name__}")
    return named
