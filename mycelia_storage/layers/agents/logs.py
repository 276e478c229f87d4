"""Logs: what happened in rooms, newest first, and no more of it than wanted.

``log_retention`` is how many logs the namespace keeps; every so often a write deletes the oldest beyond it.
``log_retention_age``, in seconds, is an expiry that the storage itself keeps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Final, NamedTuple

from ...contract import StorageBackend
from ...errors import InvalidInput
from ...names import join_key, key_prefix, split_key
from .binding import check_ids, check_number, check_page, now, pages
from .cascades import Cascades
from .ids import as_uuid, new_uuid
from .plain_json import check_object
from .record_fields import check_text, check_time
from .records import Log

LogInput = Log | Mapping[str, Any]

#: Logs written by one store between two looks for those beyond the retention.
_BETWEEN_PRUNINGS: Final = 256

_RUN_STATUS: Final = ("started", "completed", "error", "timeout")


class RunSummaries(NamedTuple):
    """A page of an agent's runs, newest first."""

    runs: list[dict[str, Any]]
    total: int
    has_more: bool


class Logs(Cascades):
    """The methods on logs."""

    def log(self, *, body: Mapping[str, Any], entity_id: str, room_id: str, type: str) -> str:
        """Note what happened; the log's id. Raises UnknownRecord for an entity or room that is not there."""
        return self.create_logs([Log(body=dict(body), entity_id=entity_id, room_id=room_id, type=type)])[0]

    def create_logs(self, logs: Iterable[LogInput]) -> list[str]:
        """Note several, all or none; their ids."""
        at = now()
        prepared = []
        for given in logs:
            log = Log.of(given)
            prepared.append(
                log.with_(id=log.id or new_uuid(), created_at=at if log.created_at is None else log.created_at)
            )
        age = self._session.log_retention_age

        def create(tx: StorageBackend) -> None:
            places = self._places
            rooms, entities = ([log.room_id for log in prepared], [log.entity_id for log in prepared])
            self._require(tx, {places.rooms: rooms, places.entities: entities})
            items = []
            for log in prepared:
                key = join_key(log.room_id, int(log.created_at or 0), str(log.id))
                items.append({"namespace": places.logs, "key": key, "value": log.to_json()})
                items += [
                    {"namespace": places.lookups, "key": lookup, "value": value}
                    for lookup, value in self._log_lookups(log).items()
                ]
            tx.set_many(items, ttl=age)

        if prepared:
            self._write(create)
            self._prune_sometimes(len(prepared))
        return [str(log.id) for log in prepared]

    def get_logs(
        self,
        *,
        entity_id: str | None = None,
        room_id: str | None = None,
        type: str | None = None,
        count: int | None = None,
        limit: int | None = None,
        offset: int | None = None,
    ) -> list[Log]:
        """The logs that meet every argument, newest first; at most ``limit``, also called ``count``, or else 10."""
        limit, start = check_page(count if limit is None else limit, offset)
        found = self._find_logs(entity_id, room_id, type)
        return list(islice(found, start, start + (10 if limit is None else limit)))

    def get_logs_by_ids(self, ids: Iterable[str]) -> list[Log]:
        """The logs of those ids that exist, in that order."""
        return self._logs_by_ids(self._storage, check_ids(ids, "ids"))

    def update_logs(self, updates: Iterable[Mapping[str, Any]]) -> list[bool]:
        """Replace body or type by {"id", "updates": {"body", "type"}}, all or none; whether each exists."""
        read = []
        for update in updates:
            changes = update.get("updates")
            if not isinstance(changes, Mapping) or changes.keys() - {"body", "type"}:
                raise InvalidInput("of a log body and type can change")
            new: dict[str, Any] = {}
            if "body" in changes:
                new["body"] = check_object(changes["body"], "body")
            if "type" in changes:
                new["type"] = check_text(changes["type"], "type")
            read.append((as_uuid(update.get("id")), new))

        def change(tx: StorageBackend) -> list[bool]:
            done = []
            for id, new in read:
                found = self._logs_by_ids(tx, [id])
                done.append(bool(found))
                for log in found:
                    key = join_key(log.room_id, int(log.created_at or 0), str(log.id))
                    entry = tx.get_entry(key, namespace=self._places.logs)
                    left = None if entry is None or entry.expires_at is None else (entry.expires_at - now()) / 1000
                    if left is None or left > 0:
                        tx.set(key, log.with_(**new).to_json(), namespace=self._places.logs, ttl=left)
            return done

        return self._write(change)

    def delete_log(self, id: str) -> bool:
        """Delete a log; whether there was one."""
        return self.delete_logs([id]) > 0

    def delete_logs(self, ids: Iterable[str]) -> int:
        """The same for several, all or none; how many there were."""
        wanted = check_ids(ids, "ids")

        def delete(tx: StorageBackend) -> int:
            found = self._logs_by_ids(tx, wanted)
            return self._drop_logs(tx, [join_key(log.room_id, int(log.created_at or 0), str(log.id)) for log in found])

        return self._write(delete)

    def prune_logs(self, *, keep: int | None = None, before: int | None = None) -> int:
        """Delete the oldest logs beyond ``keep``, and those of before a time in milliseconds; how many went."""
        gone = 0
        if before is not None:
            end = join_key("log-time", check_time(before, "before"))
            gone += self._prune(self._log_times(end=end))
        if keep is not None:
            check_number(keep, "keep")
            prefix = key_prefix("log-time")
            newest = self._storage.list(prefix + "*", namespace=self._places.lookups)
            surplus = len(newest) - keep
            if surplus > 0:
                gone += self._prune(self._log_times(limit=surplus))
        return gone

    def get_agent_run_summaries(
        self,
        *,
        limit: int = 20,
        room_id: str | None = None,
        status: str = "all",
        start: int | None = None,
        end: int | None = None,
        entity_id: str | None = None,
    ) -> RunSummaries:
        """Runs as the logs of type ``run_event`` tell them, newest first: each with its run id, status, times in
        milliseconds, and counts of the actions, evaluators, model calls and embeddings logged under the same run id.

        ``limit`` is kept within 1 and 100; max(20 * limit, 200) events are read.
        """
        limit = min(max(check_number(limit, "limit"), 1), 100)
        if status != "all" and status not in _RUN_STATUS:
            raise InvalidInput(f"status is all, {', '.join(_RUN_STATUS)}")
        runs: dict[str, dict[str, Any]] = {}
        found = list(islice(self._find_logs(entity_id, room_id, None), max(20 * limit, 200)))
        for log in reversed(found):
            run_id = log.body.get("runId")
            if not isinstance(run_id, str):
                continue
            if log.type == "run_event":
                _tell(runs, run_id, log)
            elif run_id in runs:
                counted = _counted_as(log.type)
                if counted is not None:
                    runs[run_id]["counts"][counted] += 1
        told = [
            run
            for run in runs.values()
            if status in ("all", run["status"])
            and (start is None or run["startedAt"] >= start)
            and (end is None or run["startedAt"] <= end)
        ]
        told.sort(key=lambda run: run["startedAt"], reverse=True)
        return RunSummaries(told[:limit], len(told), len(told) > limit)

    # -- within --------------------------------------------------------------------------------------------------------

    def _find_logs(self, entity_id: str | None, room_id: str | None, type: str | None) -> Iterator[Log]:
        places = self._places
        entity = None if entity_id is None else as_uuid(entity_id)
        if room_id is not None:
            entries = self._storage.scan(namespace=places.logs, prefix=key_prefix(as_uuid(room_id)), reverse=True)
            found: Iterator[Log] = (Log.from_json(entry.value) for entry in entries)
        else:
            parts = ("log-time",) if entity is None else ("log-entity", entity)
            found = self._logs_along(self._lookup_entries(*parts, reverse=True))
        return (log for log in found if entity in (None, log.entity_id) and type in (None, log.type))

    def _logs_along(self, lookups: Iterator[Any]) -> Iterator[Log]:
        for page in pages(lookups, 50):
            yield from self._get_each(Log, self._places.logs, [_log_key(entry) for entry in page])

    def _logs_by_ids(self, storage: StorageBackend, ids: Iterable[str]) -> list[Log]:
        lookups = [join_key("log", id) for id in dict.fromkeys(ids)]
        places = storage.get_many(lookups, namespace=self._places.lookups)
        keys = [join_key(room, at, key.rpartition("\x01s")[2]) for key, (room, at) in places.items()]
        return self._get_each(Log, self._places.logs, keys, storage)

    def _log_times(self, **bounds: Any) -> list[str]:
        """The keys of the oldest logs."""
        prefix = key_prefix("log-time")
        entries = self._storage.scan(namespace=self._places.lookups, prefix=prefix, **bounds)
        return [_log_key(entry) for entry in entries]

    def _prune(self, keys: list[str]) -> int:
        return sum(self._write(self._drop_logs, page) for page in pages(keys))

    def _prune_sometimes(self, written: int) -> None:
        session = self._session
        if session.log_retention is None or hasattr(self._storage, "is_active"):
            return
        first = session.logs_written == 0
        before, session.logs_written = session.logs_written, session.logs_written + written
        if first or before // _BETWEEN_PRUNINGS != session.logs_written // _BETWEEN_PRUNINGS:
            self.prune_logs(keep=session.log_retention)


def _log_key(lookup: Any) -> str:
    """The key of the log that a lookup by time or entity stands for."""
    at, log = split_key(lookup.key)[-2:]
    return join_key(lookup.value, at, log)


def _tell(runs: dict[str, dict[str, Any]], run_id: str, log: Log) -> None:
    run = runs.setdefault(
        run_id,
        {
            "runId": run_id,
            "roomId": log.room_id,
            "entityId": log.entity_id,
            "messageId": log.body.get("messageId"),
            "status": "started",
            "startedAt": log.created_at,
            "endedAt": None,
            "counts": {"actions": 0, "evaluators": 0, "modelCalls": 0, "embeddings": 0, "errors": 0},
        },
    )
    status = log.body.get("status")
    if status in _RUN_STATUS:
        run["status"] = status
        if status != "started":
            run["endedAt"] = log.created_at
        if status == "error":
            run["counts"]["errors"] += 1


def _counted_as(type: str) -> str | None:
    if type.startswith("useModel:"):
        return "modelCalls"
    return {"action": "actions", "evaluator": "evaluators", "embedding_event": "embeddings"}.get(type)
