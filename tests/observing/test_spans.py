"""Operations as OpenTelemetry spans, by the conventions."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, Tracer

from mycelia_storage import MemoryStorageBackend, SQLiteStorageBackend, traced
from mycelia_storage.errors import KeyExists


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracer(exporter: InMemorySpanExporter) -> Iterator[Tracer]:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield provider.get_tracer("test")
    provider.shutdown()


def by_name(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in exporter.get_finished_spans()}


def test_a_span_has_what_the_conventions_say(tracer: Tracer, exporter: InMemorySpanExporter) -> None:
    with traced(SQLiteStorageBackend(":memory:"), tracer, database="agent") as storage:
        storage.set("k", 1, namespace="users")
        storage.list_namespaces()
    spans = by_name(exporter)
    assert list(spans) == ["set users", "list_namespaces", "close"]
    span = spans["set users"]
    assert span.kind is SpanKind.CLIENT
    assert span.status.status_code is StatusCode.UNSET
    assert dict(span.attributes or {}) == {
        "db.system.name": "sqlite",
        "db.namespace": "agent",
        "db.collection.name": "users",
        "db.operation.name": "set",
    }
    assert "db.collection.name" not in (spans["list_namespaces"].attributes or {})


def test_a_failed_operation(tracer: Tracer, exporter: InMemorySpanExporter) -> None:
    for keys in (False, True):
        with traced(MemoryStorageBackend(), tracer, keys=keys) as storage:
            storage.set("the key", "the value")
            exporter.clear()
            with pytest.raises(KeyExists):
                storage.set("the key", "the value", overwrite=False)
            (span,) = exporter.get_finished_spans()
        assert (span.attributes or {})["error.type"] == "KeyExists"
        assert span.status.status_code is StatusCode.ERROR
        assert "the value" not in span.to_json()
        assert ("the key" in span.to_json()) is keys
        assert len(span.events) == keys


def test_spans_of_a_transaction_carry_its_id(tracer: Tracer, exporter: InMemorySpanExporter) -> None:
    with traced(MemoryStorageBackend(), tracer) as storage, storage.transaction() as tx:
        tx.set("k", 1)
    spans = by_name(exporter)
    assert list(spans) == ["transaction", "set default", "commit", "close"]
    assert (spans["set default"].attributes or {})["mycelia.transaction.id"] == tx.id


def test_a_span_is_current_while_the_storage_works_and_not_between_steps(
    tracer: Tracer, exporter: InMemorySpanExporter
) -> None:
    with traced(traced(MemoryStorageBackend(), tracer), tracer, rows=True) as storage:
        storage.set_many({"a": 1, "b": 2})
        exporter.clear()
        for _ in storage.scan():
            with tracer.start_as_current_span("mine"):
                pass
        inner, outer = [span for span in exporter.get_finished_spans() if span.name == "scan default"]
        mine = [span for span in exporter.get_finished_spans() if span.name == "mine"]
    assert inner.parent is not None
    assert inner.parent.span_id == outer.context.span_id
    assert outer.parent is None
    assert [span.parent for span in mine] == [None, None]
    assert (outer.attributes or {})["db.response.returned_rows"] == 2
    assert "db.response.returned_rows" not in (inner.attributes or {})
    assert mine[-1].end_time <= outer.end_time


def test_names_without_targets(tracer: Tracer, exporter: InMemorySpanExporter) -> None:
    with traced(MemoryStorageBackend(), tracer, targets=False) as storage:
        storage.get("k", namespace="agents/a1")
    (span, _) = exporter.get_finished_spans()
    assert span.name == "get"
    assert (span.attributes or {})["db.collection.name"] == "agents/a1"


def test_without_a_provider_nothing_happens() -> None:
    with traced(MemoryStorageBackend()) as storage:
        storage.set("k", 1)
        assert storage.get("k") == 1


def test_without_the_package_the_extra_is_named() -> None:
    script = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from mycelia_storage import MemoryStorageBackend, logged, traced\n"
        "from mycelia_storage.errors import BackendUnavailable\n"
        "with logged(MemoryStorageBackend()) as storage:\n"
        "    try: traced(storage)\n"
        "    except BackendUnavailable as error: print(error)\n"
    )
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "mycelia-storage[otel]" in printed


def test_opentelemetry_is_not_loaded_before_it_is_asked_for() -> None:
    script = "import sys, mycelia_storage.observing; print([m for m in sys.modules if m.startswith('opentelemetry')])"
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"
