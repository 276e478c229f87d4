"""Collectives: projects or tenants, each with its experiences, insights and activities, and its vector indexes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .core import Core
from .decay_settings import CollectiveDecay, DecayConfig
from .entities import Collective, CollectiveStats
from .errors import NotFound
from .ids import as_id, new_id
from .kinds import KINDS, Entity, Event
from .limits import check_collective
from .rows import drop_collective, put_collective, read_collective
from .turns import Turn, now_ms


class Collectives(Core):
    """The part of the store for collectives."""

    def create_collective(self, name: str, owner_id: str | None = None) -> str:
        """A new collective; its id. Names need not be unique. Raises ValidationError."""
        self._check_writable()
        check_collective(name, owner_id)
        return self._write(lambda turn: self._create(turn, name, owner_id).id, alone=True)

    def create_collective_with_owner(self, name: str, owner_id: str) -> str:
        """The same with an owner. Raises ValidationError."""
        return self.create_collective(name, owner_id)

    def get_or_create_collective(self, name: str, owner_id: str | None = None) -> Collective:
        """The oldest collective of that name, made if there is none; racing callers get the same one."""
        check_collective(name, owner_id)

        def work(turn: Turn) -> Collective:
            found = (Collective.from_json(row.key, row.value) for row in turn.rows(self.layout.collectives))
            return next((c for c in found if c.name == name), None) or self._create(turn, name, owner_id)

        if not self.is_read_only:
            held = next((c for c in self.list_collectives() if c.name == name), None)
            if held is not None:
                return held
        return self._write(work, alone=True)

    def _create(self, turn: Turn, name: str, owner_id: str | None) -> Collective:
        now = turn.now
        collective = Collective(new_id(), name, self.dimension, now, now, owner_id, turn.stamp())
        put_collective(turn, collective, new=True)
        turn.log(Entity.COLLECTIVE, collective.id, collective.id, Event.CREATED)
        return collective

    def save_collective(self, collective: Collective) -> None:
        """Store a collective as it is; an existing one is overwritten. Logs Created or Updated."""
        check_collective(collective.name, collective.owner_id)
        id = as_id(collective.id)

        def work(turn: Turn) -> None:
            row = turn.get(self.layout.collectives, id)
            died = turn.died(id)
            floor = max(died, "" if row is None else row["floor"])
            put_collective(
                turn,
                replace(collective, id=id, embedding_dimension=self.dimension, born=turn.stamp(), floor=floor),
                new=row is None,
            )
            turn.log(Entity.COLLECTIVE, id, id, Event.CREATED if row is None else Event.UPDATED)

        self._write(work, alone=True)

    def get_collective(self, id: str) -> Collective | None:
        """The collective, or None."""
        return read_collective(self.storage, self.layout, as_id(id))

    def list_collectives(self) -> list[Collective]:
        """All, in order of creation."""
        return [
            Collective.from_json(row.key, row.value) for row in self.storage.scan(namespace=self.layout.collectives)
        ]

    def list_collectives_by_owner(self, owner_id: str) -> list[Collective]:
        """Those of an owner, in order of creation."""
        return [collective for collective in self.list_collectives() if collective.owner_id == owner_id]

    def delete_collective(self, id: str) -> bool:
        """Delete a collective with all that is in it, in one transaction; whether it existed.

        One log row says so; the entities in it have none of their own.
        """
        id = as_id(id)

        def work(turn: Turn) -> bool:
            if not turn.has(self.layout.collectives, id):
                return False
            drop_collective(turn, id)
            turn.bury(Entity.COLLECTIVE, id, id)
            turn.log(Entity.COLLECTIVE, id, id, Event.DELETED)
            return True

        return self._write(work, alone=True)

    def get_collective_stats(self, id: str) -> CollectiveStats:
        """A collective in figures, archived experiences included. Raises NotFound."""
        id = as_id(id)
        with self._snapshot() as tx:
            self._existing(id, tx)
            rows = list(tx.scan(namespace=self.layout.ages(id)))
            times = [int(_time(row.key)) for row in (rows[:1] + rows[-1:])]
            kinds = {
                kind.__name__: tx.count(
                    namespace=self.layout.types(id),
                    filter={"field": "$key", "operator": "startsWith", "value": _tag_prefix(kind.tag)},
                )
                for kind in KINDS
            }
        return CollectiveStats(
            len(rows),
            sum(row.value for row in rows),
            times[0] if rows else None,
            times[-1] if rows else None,
            {name: count for name, count in kinds.items() if count},
        )

    # -- decay -----------------------------------------------------------------------------------------------------

    def get_decay_config(self, collective_id: str) -> CollectiveDecay | None:
        """The settings of decay that a collective has of its own, or None."""
        row = self.storage.get(as_id(collective_id), namespace=self.layout.decay)
        return None if row is None else CollectiveDecay.from_json(row)

    def set_decay_config(self, collective_id: str, settings: CollectiveDecay | None) -> None:
        """Give a collective settings of its own, or take them away. Raises ValidationError, NotFound."""
        id = as_id(collective_id)
        if settings is not None:
            settings.check()

        def work(turn: Turn) -> None:
            if not turn.has(self.layout.collectives, id):
                raise NotFound("collective", id)
            if settings is None:
                turn.remove(self.layout.decay, id)
            else:
                turn.put(self.layout.decay, id, settings.to_json())

        self._write(work)

    def decay_of(self, collective_id: str, reader: Any = None) -> DecayConfig:
        """The settings in force in a collective: its own over those of the store."""
        row = (reader or self.storage).get(as_id(collective_id), namespace=self.layout.decay)
        return self.decay if row is None else CollectiveDecay.from_json(row).over(self.decay)

    def _existing(self, id: str, reader: Any = None) -> Collective:
        """The collective. Raises NotFound."""
        found = read_collective(reader or self.storage, self.layout, id)
        if found is None:
            raise NotFound("collective", id)
        return found

    def _now(self, now: int | None) -> int:
        return now_ms() if now is None else now


def _time(key: str) -> int | str:
    from ...names import split_key

    return split_key(key)[0]


def _tag_prefix(tag: int) -> str:
    from ...names import key_prefix

    return key_prefix(tag)
