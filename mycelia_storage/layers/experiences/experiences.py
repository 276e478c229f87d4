"""Experiences: recorded once, then updated, archived, reinforced and deleted, alone or in batches."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ...contract import StorageBackend
from ...names import join_key, split_key
from .collectives import Collectives
from .entities import MOST_APPLICATIONS, Experience, ExperienceUpdate, NewExperience
from .errors import EmbeddingError, InvalidField, NotFound, RequiredField
from .ids import as_id, new_id
from .kinds import Entity, Event
from .layout import second_part
from .limits import check_count, check_new, check_new_rest, check_paging, check_update, pack_vector
from .rows import (
    age_key,
    change_experience,
    drop_experience,
    drop_relation,
    find_experience,
    put_experience,
    read_experience,
    read_experiences,
    relations_in,
    vectors_of,
)
from .turns import Turn


class Experiences(Collectives):
    """The part of the store for experiences."""

    # -- recording -------------------------------------------------------------------------------------------------

    def record(self, new: NewExperience) -> str:
        """Record an experience; its id. Raises NotFound for its collective, ValidationError, EmbeddingError."""
        return self.record_many([new])[0]

    record_experience = record

    def record_many(self, news: Iterable[NewExperience]) -> list[str]:
        """Record several in one transaction, all or none; their ids."""
        self._check_writable()
        # Embedding may take long: it is done before the transaction, and so are the checks that come before it.
        known: dict[str, int] = {}
        given = [self._embedded(new, known) for new in news]

        def work(turn: Turn) -> list[str]:
            held: dict[str, int] = {}
            checked = [(new, *self._check_new(new, held, turn.tx)) for new in given]
            return [self._record(turn, *each) for each in checked]

        return self._write(work) if given else []

    def _embedded(self, new: NewExperience, known: dict[str, int]) -> NewExperience:
        if new.embedding is not None or self.embedder is None:
            return new
        self._dimension_of(new, known, self.storage)
        check_new(new)
        return replace(new, embedding=self.embed(new.content))

    def _check_new(self, new: NewExperience, known: dict[str, int], reader: StorageBackend) -> tuple[str, bytes]:
        id, dimension = self._dimension_of(new, known, reader)
        check_new(new)
        if new.embedding is None:
            raise RequiredField("embedding")
        vector = pack_vector(new.embedding, dimension)
        check_new_rest(new)
        return id, vector

    def _dimension_of(self, new: NewExperience, known: dict[str, int], reader: StorageBackend) -> tuple[str, int]:
        id = as_id(new.collective_id, "collective_id")
        if id not in known:
            known[id] = self._existing(id, reader).embedding_dimension
        return id, known[id]

    def _record(self, turn: Turn, new: NewExperience, collective: str, vector: bytes) -> str:
        stamp = turn.stamp()
        experience = Experience(
            new_id(), collective, new.content, vector, new.experience_type, new.importance, new.confidence, {},
            tuple(new.domain), tuple(new.related_files), new.source_agent, new.source_task, turn.now, turn.now, False,
            dict(new.tags), stamp, stamp,
        )  # fmt: skip
        put_experience(turn, experience)
        turn.log(Entity.EXPERIENCE, experience.id, collective, Event.CREATED)
        return experience.id

    def embed(self, text: str) -> object:
        """The vector that the store's embedder makes, None without one. Raises EmbeddingError."""
        if self.embedder is None:
            return None
        try:
            return self.embedder(text)
        except Exception as error:
            raise EmbeddingError("the embedder failed") from error

    def save_experience(self, experience: Experience) -> None:
        """Store an experience as it is, new or in place of the one with its id. Raises NotFound, ValidationError."""
        new = NewExperience(
            experience.collective_id, experience.content, experience.vector, experience.experience_type,
            experience.importance, experience.confidence, experience.domain, experience.related_files,
            experience.source_agent, experience.source_task, experience.tags,
        )  # fmt: skip
        id = as_id(experience.id)

        def work(turn: Turn) -> None:
            collective, vector = self._check_new(new, {}, turn.tx)
            old, stamp = find_experience(turn, id), turn.stamp()
            if old is not None and old.collective_id != collective:
                raise InvalidField("collective_id", "of an experience cannot change")
            kept = replace(
                experience, id=id, collective_id=collective, vector=vector, domain=tuple(experience.domain),
                related_files=tuple(experience.related_files), born=stamp, edited=stamp,
            )  # fmt: skip
            put_experience(turn, kept, old)
            turn.log(Entity.EXPERIENCE, id, collective, Event.CREATED if old is None else Event.UPDATED)

        self._write(work)

    # -- reading ---------------------------------------------------------------------------------------------------

    def get_experience(self, id: str) -> Experience | None:
        """The experience with its vector, or None."""
        return read_experience(self.storage, self.layout, as_id(id))

    get = get_experience

    def get_embedding(self, id: str) -> bytes | None:
        """The vector of an experience as bytes, or None."""
        id = as_id(id)
        row = self.storage.get(id, namespace=self.layout.experiences)
        return None if row is None else vectors_of(self.storage, self.layout, {id: row}).get(id)

    def save_embedding(self, id: str, embedding: object) -> None:
        """Give an experience another vector. Raises NotFound, DimensionMismatch, InvalidField."""
        id = as_id(id)
        vector = pack_vector(embedding, self.dimension)

        def work(turn: Turn) -> None:
            old = find_experience(turn, id)
            if old is None:
                raise NotFound("experience", id)
            put_experience(turn, replace(old, vector=vector, born=turn.stamp()), old)
            turn.log(Entity.EXPERIENCE, id, old.collective_id, Event.UPDATED)

        self._write(work)

    # -- changing --------------------------------------------------------------------------------------------------

    def update_experience(self, id: str, update: ExperienceUpdate) -> bool:
        """Apply a patch; whether there is such an experience. Raises ValidationError."""
        self._check_writable()
        check_update(update)
        id = as_id(id)

        def work(turn: Turn) -> bool:
            old = find_experience(turn, id)
            if old is None:
                return False
            new = replace(
                old,
                importance=old.importance if update.importance is None else update.importance,
                confidence=old.confidence if update.confidence is None else update.confidence,
                domain=old.domain if update.domain is None else tuple(update.domain),
                related_files=old.related_files if update.related_files is None else tuple(update.related_files),
                archived=old.archived if update.archived is None else update.archived,
                tags=old.tags if update.tags is None else dict(update.tags),
                edited=turn.stamp(),
            )
            change_experience(turn, old, new)
            event = Event.ARCHIVED if update.archived else Event.UPDATED
            turn.log(Entity.EXPERIENCE, id, old.collective_id, event)
            return True

        return self._write(work)

    def update(self, id: str, update: ExperienceUpdate | None = None, **fields: object) -> None:
        """The same, from a patch or its fields. Raises ValidationError before NotFound."""
        patch = update or ExperienceUpdate(**fields)  # type: ignore[arg-type]
        if not self.update_experience(id, patch):
            raise NotFound("experience", as_id(id))

    def archive(self, id: str) -> None:
        """Take an experience out of search and of what is recent; it stays stored. Raises NotFound."""
        self.update(id, ExperienceUpdate(archived=True))

    archive_experience = archive

    def unarchive(self, id: str) -> None:
        """Bring it back. Raises NotFound."""
        self.update(id, ExperienceUpdate(archived=False))

    unarchive_experience = unarchive

    def delete_experience(self, id: str) -> bool:
        """Delete an experience and the relations that touch it, in one transaction; whether it existed."""
        id = as_id(id)

        def work(turn: Turn) -> bool:
            old = find_experience(turn, id)
            if old is not None:
                drop_experience(turn, old)
            return old is not None

        return self._write(work)

    def delete(self, id: str) -> None:
        """The same. Raises NotFound."""
        if not self.delete_experience(id):
            raise NotFound("experience", as_id(id))

    def reinforce_experience(self, id: str) -> int | None:
        """Count one more use of an experience; how many there are now, None if there is no such experience.

        Counted by the instance of the store, so that uses counted in two stores add up; the total stops at 2**32 - 1.
        """
        id = as_id(id)

        def work(turn: Turn) -> int | None:
            row = turn.get(self.layout.experiences, id)
            if row is None:
                return None
            uses = row["applications"]
            uses[turn.instance] = min(uses.get(turn.instance, 0) + 1, MOST_APPLICATIONS)
            row["reinforced"] = max(turn.now, row["reinforced"])
            turn.put(self.layout.experiences, id, row)
            turn.log(Entity.EXPERIENCE, id, row["collective"], Event.UPDATED)
            return int(min(sum(uses.values()), MOST_APPLICATIONS))

        return self._write(work)

    def reinforce(self, id: str) -> int:
        """The same. Raises NotFound."""
        total = self.reinforce_experience(id)
        if total is None:
            raise NotFound("experience", as_id(id))
        return total

    # -- lists -----------------------------------------------------------------------------------------------------

    def count_experiences_in_collective(self, id: str) -> int:
        """How many, archived ones included; 0 for an unknown collective."""
        return self.storage.count(namespace=self.layout.ages(as_id(id)))

    def delete_experiences_by_collective(self, id: str) -> int:
        """Delete all experiences of a collective with their relations, in one transaction; how many experiences."""
        id = as_id(id)

        def work(turn: Turn) -> int:
            for relation in relations_in(turn, id):
                drop_relation(turn, relation, id)
            ids = [second_part(row.key) for row in turn.rows(self.layout.ages(id))]
            for experience in read_experiences(turn.tx, self.layout, ids):
                drop_experience(turn, experience, alone=True)
            return len(ids)

        return self._write(work, alone=True)

    def list_experience_ids_in_collective(self, id: str) -> list[str]:
        """All ids, oldest first; [] for an unknown collective."""
        return [second_part(key) for key in self.storage.list(namespace=self.layout.ages(as_id(id)))]

    def list_experience_ids_paginated(
        self, collective_id: str, limit: int, offset: int = 0, *, after: str | None = None
    ) -> list[str]:
        """A page of ids, oldest first. ``after``: the last id of the page before, which is exact while others write."""
        check_paging(limit, offset)
        start = None
        if after is not None:
            row = self.storage.get(as_id(after, "after"), namespace=self.layout.experiences)
            if row is None:
                raise NotFound("experience", as_id(after))
            start = join_key(row["at"], as_id(after))
        keys = self.storage.list(
            namespace=self.layout.ages(as_id(collective_id)), limit=limit, offset=offset, after=start
        )
        return [second_part(key) for key in keys]

    def list_experiences(
        self, collective_id: str, limit: int, offset: int = 0, *, after: str | None = None
    ) -> list[Experience]:
        """The same as whole experiences, archived ones included."""
        ids = self.list_experience_ids_paginated(collective_id, limit, offset, after=after)
        return read_experiences(self.storage, self.layout, ids)

    def get_recent_experience_ids(self, collective_id: str, limit: int) -> list[tuple[str, int]]:
        """Ids and timestamps, newest first, archived ones included."""
        check_paging(limit)
        rows = self.storage.scan(namespace=self.layout.ages(as_id(collective_id)), reverse=True, limit=limit)
        return [(str(id), int(at)) for at, id in (split_key(row.key) for row in rows)]

    # -- energy ----------------------------------------------------------------------------------------------------

    def energy(self, id: str, *, now: int | None = None) -> float:
        """How alive an experience is, from 0 to 1. Raises NotFound."""
        found = self.get_experience(id)
        if found is None:
            raise NotFound("experience", as_id(id))
        return self.decay_of(found.collective_id).energy(found, self._now(now))

    def list_cold_experiences(
        self, collective_id: str, below: float | None = None, limit: int = 100, *, now: int | None = None
    ) -> list[tuple[Experience, float]]:
        """Experiences, not archived, with their energy where it is under ``below``; coldest first, then oldest.

        ``below=None`` takes the floor of the collective's settings. It reads all experiences of the collective.
        """
        from .limits import check_score

        if below is not None:
            check_score("below", below)
        check_count("limit", limit)
        id = as_id(collective_id)
        cold: list[tuple[float, str, Experience]] = []
        with self._snapshot() as tx:
            self._existing(id, tx)
            settings = self.decay_of(id, tx)
            bound, moment = settings.floor if below is None else below, self._now(now)
            ids = [second_part(key) for key in tx.list(namespace=self.layout.ages(id))]
            for start in range(0, len(ids), 500):
                rows = tx.get_many(ids[start : start + 500], namespace=self.layout.experiences)
                found = (Experience.from_json(each, row, b"") for each, row in rows.items())
                warmth = ((settings.energy(e, moment), age_key(e), e) for e in found if not e.archived)
                cold = sorted([*cold, *(each for each in warmth if each[0] < bound)], key=lambda each: each[:2])[:limit]
            vectors = vectors_of(tx, self.layout, {e.id: {"collective": id, "archived": False} for _, _, e in cold})
        return [(replace(e, vector=vectors.get(e.id, b"")), warmth) for warmth, _, e in cold]
