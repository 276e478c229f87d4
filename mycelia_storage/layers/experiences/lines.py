"""A collective as lines of JSON: carried to another store, or kept beside it.

The first line is the collective, then its experiences, relations and insights, one a line, vectors as base64.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import orjson

from ...names import split_key
from .entities import Collective, Experience, Insight, Relation
from .errors import DimensionMismatch, InvalidField, NotFound
from .ids import as_id
from .kinds import Entity, Event
from .layout import second_part
from .rows import (
    find_experience,
    find_insight,
    find_relation,
    put_collective,
    put_experience,
    put_insight,
    put_relation,
    read_collective,
    read_experiences,
    read_insights,
)
from .turns import Turn
from .watching import Watching

_PAGE = 500


class Lines(Watching):
    """The part of the store for export and import."""

    def export_collective(self, collective_id: str) -> Iterator[bytes]:
        """The lines of a collective, each ending in a newline, read from the store in pages. Raises NotFound."""
        id = as_id(collective_id, "collective_id")
        collective = self._existing(id)
        return self._lines(collective)

    def _lines(self, collective: Collective) -> Iterator[bytes]:
        id = collective.id
        yield _line(Entity.COLLECTIVE, id, collective.to_json())
        for page in _pages(row.key for row in self.storage.scan(namespace=self.layout.ages(id))):
            for experience in read_experiences(self.storage, self.layout, [second_part(key) for key in page]):
                yield _line(Entity.EXPERIENCE, experience.id, experience.to_json(), experience.vector)
        for page in _pages(row.key for row in self.storage.scan(namespace=self.layout.edges(id))):
            for relation in self._load(self.storage, [str(split_key(key)[-1]) for key in page]):
                yield _line(Entity.RELATION, relation.id, relation.to_json())
        for page in _pages(row.key for row in self.storage.scan(namespace=self.layout.insights_of(id))):
            for insight in read_insights(self.storage, self.layout, page):
                yield _line(Entity.INSIGHT, insight.id, insight.to_json(), insight.vector)

    def import_collective(self, lines: Iterable[bytes | str]) -> tuple[str, int]:
        """Store what was exported, all or nothing; the collective's id, and how many lines were new.

        What is there already stays as it is. Raises InvalidField naming the line, DimensionMismatch.
        """
        read = [_read(number, line) for number, line in enumerate(lines, 1) if line.strip()]
        if not read or read[0][0] != Entity.COLLECTIVE:
            raise InvalidField("line 1", "is no collective")

        def work(turn: Turn) -> tuple[str, int]:
            return read[0][1], sum(self._import(turn, number, *each) for number, each in enumerate(read, 1))

        return self._write(work, alone=True)

    def _import(self, turn: Turn, number: int, entity: Entity, id: str, data: dict[str, Any], vector: bytes) -> bool:
        stamp = turn.stamp()
        if entity == Entity.COLLECTIVE:
            return self._import_collective(turn, replace(Collective.from_json(id, data), born=stamp))
        if entity == Entity.EXPERIENCE:
            experience = Experience.from_json(id, data, vector)
            if find_experience(turn, id) is not None:
                return False
            self._check_line(turn, number, experience.collective_id, vector)
            put_experience(turn, replace(experience, born=stamp, edited=stamp))
            turn.log(entity, id, experience.collective_id, Event.CREATED)
        elif entity == Entity.RELATION:
            relation = Relation.from_json(id, data)
            source, target = (
                turn.get(self.layout.experiences, end) for end in (relation.source_id, relation.target_id)
            )
            if find_relation(turn, id) is not None:
                return False
            if source is None or target is None:
                raise InvalidField(f"line {number}", "relates experiences that are not there")
            if self._taken(turn, relation):
                return False
            put_relation(turn, replace(relation, born=stamp), source["collective"], source["at"])
            turn.log(entity, id, source["collective"], Event.CREATED)
        else:
            insight = Insight.from_json(id, data, vector)
            if find_insight(turn, id) is not None:
                return False
            self._check_line(turn, number, insight.collective_id, vector)
            put_insight(turn, replace(insight, born=stamp))
            turn.log(entity, id, insight.collective_id, Event.CREATED)
        return True

    def _import_collective(self, turn: Turn, collective: Collective) -> bool:
        if collective.embedding_dimension != self.dimension:
            raise DimensionMismatch(self.dimension, collective.embedding_dimension)
        if read_collective(turn.tx, self.layout, collective.id) is not None:
            return False
        put_collective(turn, replace(collective, floor=turn.died(collective.id)), new=True)
        turn.log(Entity.COLLECTIVE, collective.id, collective.id, Event.CREATED)
        return True

    def _check_line(self, turn: Turn, number: int, collective: str, vector: bytes) -> None:
        if not turn.has(self.layout.collectives, collective):
            raise NotFound("collective", collective)
        if len(vector) != 4 * self.dimension:
            raise InvalidField(f"line {number}", "has no vector of this store's dimension")

    def _taken(self, turn: Turn, relation: Relation) -> bool:
        from .rows import edge_key

        return turn.has(self.layout.edge_keys, edge_key(relation))


def _line(entity: Entity, id: str, data: dict[str, Any], vector: bytes | None = None) -> bytes:
    line = {"entity": str(entity), "id": id} | data
    if vector is not None:
        line["vector"] = b64encode(vector).decode()
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def _read(number: int, line: bytes | str) -> tuple[Entity, str, dict[str, Any], bytes]:
    try:
        data = orjson.loads(line)
        return Entity(data.pop("entity")), as_id(data.pop("id")), data, b64decode(data.pop("vector", ""), validate=True)
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise InvalidField(f"line {number}", "cannot be read") from error


def _pages(keys: Iterator[str]) -> Iterator[list[str]]:
    while page := list(islice(keys, _PAGE)):
        yield page
