"""Every operation as an OpenTelemetry span, by the stable semantic conventions for database clients.

========================  ==========================================================================================
span                      is
========================  ==========================================================================================
kind                      CLIENT
name                      ``{operation} {namespace}``, ``{operation}`` where no namespace is meant or ``targets=False``
status                    ERROR if the operation raised
``db.system.name``        the backend: ``sqlite``, ``postgresql``, ``memory``, ``rocksdb``, ...
``db.namespace``          the name of the database, if given as ``database``
``db.collection.name``    the namespace of the entries: what the conventions call a collection
``db.operation.name``     the method of the contract: ``set``, ``query``, ...
``error.type``            the class of the error: ``VersionConflict``, ``StorageBusy``, ...
========================  ==========================================================================================

Ids of transactions, keys (only with ``keys``) and rows (only with ``rows``) go into ``mycelia.transaction.id``,
``mycelia.key`` and ``db.response.returned_rows``, the last for operations that return entries, keys or changes.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final

from ..contract import StorageBackend
from ..errors import BackendUnavailable
from .forwarding import Call, Observation, ObservedStorage, Observer

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

# Names of backends whose system has another in the conventions.
_SYSTEMS: Final = {"postgres": "postgresql"}

_RETURN_ROWS: Final = frozenset(
    {
        "get_entry",
        "get_many",
        "get_across",
        "list",
        "scan",
        "scan_prefixes",
        "follow",
        "follow_keys",
        "query",
        "list_namespaces",
        "list_indexes",
        "search_text",
        "search_vectors",
        "query_sql",
        "changes",
        "watch",
    }
)


def traced(
    storage: StorageBackend,
    tracer: Tracer | None = None,
    *,
    database: str | None = None,
    targets: bool = True,
    keys: bool = False,
    rows: bool = False,
) -> ObservedStorage:
    """``storage`` with a span for every operation; see the module for what is in it.

    ``tracer``: that of the global provider unless given. ``targets=False`` leaves the namespace out of the names of
    spans, where there are very many namespaces. ``keys`` adds the key, and the error's message, which may name one.

    The result owns ``storage``. Raises BackendUnavailable when opentelemetry-api is not installed.
    """
    try:
        from opentelemetry import trace
    except ImportError as error:
        raise BackendUnavailable(
            "traced needs opentelemetry-api, which cannot be imported; run: pip install 'mycelia-storage[otel]'"
        ) from error
    if tracer is None:
        tracer = trace.get_tracer("mycelia_storage")
    attributes = {"db.system.name": _SYSTEMS.get(storage.backend_name, storage.backend_name or "other_sql")}
    if database is not None:
        attributes["db.namespace"] = database
    return ObservedStorage(storage, _Spans(tracer, attributes, targets=targets, keys=keys, rows=rows))


class _Spans(Observer):
    def __init__(self, tracer: Tracer, attributes: dict[str, str], *, targets: bool, keys: bool, rows: bool) -> None:
        from opentelemetry import trace

        self._tracer = tracer
        self._attributes = attributes
        self._targets = targets
        self._kind = trace.SpanKind.CLIENT
        self.use_span = trace.use_span
        self.failed = trace.StatusCode.ERROR
        self.keys = keys
        self.rows = rows

    def begin(self, call: Call) -> Observation:
        attributes = {**self._attributes, "db.operation.name": call.operation}
        name = call.operation
        if call.namespace is not None:
            attributes["db.collection.name"] = call.namespace
            if self._targets:
                name = f"{name} {call.namespace}"
        if call.transaction is not None:
            attributes["mycelia.transaction.id"] = call.transaction
        if self.keys and isinstance(call.key, str):
            attributes["mycelia.key"] = call.key
        return _SpanOfCall(self, call, self._tracer.start_span(name, kind=self._kind, attributes=attributes))


class _SpanOfCall(Observation):
    def __init__(self, spans: _Spans, call: Call, span: Span) -> None:
        self._spans = spans
        self._call = call
        self._span = span

    def working(self) -> AbstractContextManager[Any]:
        # So that spans of a driver below become children of this one.
        return self._spans.use_span(
            self._span, end_on_exit=False, record_exception=False, set_status_on_exception=False
        )

    def end(self, error: BaseException | None, rows: int | None) -> None:
        span, spans = self._span, self._spans
        if error is not None:
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(spans.failed, str(error) if spans.keys else None)
            if spans.keys:
                span.record_exception(error)
        elif spans.rows and rows is not None and self._call.operation in _RETURN_ROWS:
            span.set_attribute("db.response.returned_rows", rows)
        span.end()
