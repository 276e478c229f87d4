"""Reads everything and compares: entries with the rows kept beside them, counters with what is there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...errors import StorageError
from ...indexes import TextIndex
from ...names import check_key, check_namespace
from ...states.state import now_ms
from ...states.texts import text_of
from ...states.vectors import vector_log_problems
from . import layout
from .space import RocksDBSpace
from .vector_codes import codes_problems
from .view import View

if TYPE_CHECKING:
    from .state import RocksDBState


def find_problems(state: RocksDBState) -> Iterator[str]:
    """Every problem in a sentence. Damage that stops the reading is one."""
    try:
        names = list(state.names())
        changes = 0
        for name in names:
            space = state.space(name)
            if space is not None:
                yield from _problems_of(space)
                changes += sum(1 for _ in space.changes())
        known = {name.encode() for name in names}
        for kind in (b"e", b"x", b"i", b"t", b"s", b"v", b"k", b"l"):
            for encoded in _names_of(state.view, kind):
                if encoded not in known:
                    yield f"namespace {encoded.decode(errors='replace')!r} is not registered, yet has rows"
        ordered = sum(1 for _ in state.view.items(layout.ORDER, layout.after(layout.ORDER)))
        if ordered != changes:
            yield f"the order of changes has {ordered} rows for {changes} changes"
    except (StorageError, ValueError) as error:
        yield str(error)


def _problems_of(space: RocksDBSpace) -> Iterator[str]:
    where = f"namespace {space.name!r}"
    entries = expiring = 0
    in_index = dict.fromkeys(space.field_indexes, 0)
    texts = {name: index for name, index in space.indexes.items() if isinstance(index, TextIndex)}
    kept = dict.fromkeys(texts, (0, 0, 0))
    for key, row in space.rows():
        entries += 1
        try:
            check_namespace(space.name)
            entry = row.entry(space.name, check_key(key))
        except (StorageError, ValueError) as error:
            yield f"{where}, key {key!r}: {error}"
            continue
        if row.version < 1:
            yield f"{where}, key {key!r}: version {row.version} is none"
        if row.expires_at is not None:
            expiring += 1
            expiry = layout.prefix("x", space.name) + layout.NUMBER.pack(row.expires_at) + key.encode()
            if space.view.get(expiry) is None:
                yield f"{where}, key {key!r}: its expiry is not listed"
        for name, index in space.field_indexes.items():
            if space.view.get(space.index_keys(name, index, entry)) == key.encode():
                in_index[name] += 1
            elif row.is_live(now_ms()):  # an index that was built over expired entries has none of them
                yield f"{where}: index {name!r} does not hold what key {key!r} says"
        for name, text in texts.items():
            now = text_of(text, entry)
            before, end = space.text_prefix("t", name), b"\0" + key.encode()
            expected = {before + term.encode() + end: (tf, now.length) for term, tf in now.terms.items()}
            if any(space.view.get(full) != layout.POSTING.pack(*posting) for full, posting in expected.items()):
                yield f"{where}: index {name!r} does not hold what key {key!r} says"
            number, held, length = kept[name]
            kept[name] = (number + len(expected), held + (now.length > 0), length + now.length)
    for name, (number, held, length) in kept.items():
        if _count(space.view, space.text_prefix("t", name)) != number:
            yield f"{where}: index {name!r} holds what no entry says"
        if space.text_statistics(name) != (held, length):
            yield f"{where}: the statistics of index {name!r} are wrong"
    if entries != space.stored:
        yield f"{where} counts {space.stored} entries and has {entries}"
    listed = _count(space.view, layout.prefix("x", space.name))
    if listed != expiring:
        yield f"{where} lists {listed} expiries for {expiring} entries that expire"
    for name, rows in space.index_rows().items():
        held = _count(space.view, rows.prefix)
        if held != in_index[name]:
            yield f"{where}: index {name!r} has {held} rows for {in_index[name]} entries"
    for problem in (*vector_log_problems(space), *codes_problems(space)):
        yield f"{where}: {problem}"
    logged = 0
    for change in space.changes():
        logged += 1
        if space.view.get(layout.ORDER + layout.NUMBER.pack(change.seq)) != space.name.encode():
            yield f"{where}: change {change.seq} is missing in the order of all changes"
    if logged != space.log_length:
        yield f"{where} counts {space.log_length} changes and has {logged}"


def _count(view: View, prefix: bytes) -> int:
    return sum(1 for _ in view.items(prefix, layout.after(prefix)))


def _names_of(view: View, kind: bytes) -> Iterator[bytes]:
    """The namespaces that have rows of a kind, found by jumping from one to the next."""
    place = kind
    while row := next(view.items(place, layout.after(kind)), None):
        name = row[0][1:].partition(b"\0")[0]
        yield name
        place = kind + name + b"\x01"
