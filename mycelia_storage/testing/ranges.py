"""Reading ranges: list with patterns, scan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ..contract import StorageBackend
from ..errors import InvalidInput, InvalidKey
from .fixtures import HOSTILE_NAMES, ContractCase

KEYS = ["a", "a/1", "a/10", "a/2", "b", "ba", "c"]

PATTERNS: dict[str, list[str]] = {
    "*": HOSTILE_NAMES,
    "": [],
    "a%b": ["a%b"],
    "a_b": ["a_b"],
    "a\\b": ["a\\b"],
    "a[x]b": ["a[x]b"],
    "A": ["A"],
    "a": ["a"],
    "A*": ["A"],
    "a*": [name for name in HOSTILE_NAMES if name.startswith("a")],
    "a?": ["a\n", "a "],
    "a?b": [name for name in HOSTILE_NAMES if len(name) == 3 and name[0] == "a" and name[2] == "b"],
    "*b": [name for name in HOSTILE_NAMES if name.endswith("b")],
    "a*x*b": ["a[x]b", "axb"],
    "*%*": ["a%b"],
    "*_*": [name for name in HOSTILE_NAMES if "_" in name],
    "*\\*": ["a\\b"],
    "?": [name for name in HOSTILE_NAMES if len(name) == 1],
    "??": [name for name in HOSTILE_NAMES if len(name) == 2],
    "**": HOSTILE_NAMES,
    "*?*": HOSTILE_NAMES,
    "a*b*": [name for name in HOSTILE_NAMES if name.startswith("a") and "b" in name],
    "É": [],
    "'*": ["'; DROP TABLE storage_entries; --"],
    "\uffff*": ["\uffff"],
    "[a]": [],
    "a\n": ["a\n"],
}


class RangeContract(ContractCase):
    """list and scan."""

    @pytest.mark.parametrize("pattern", list(PATTERNS), ids=repr)
    def test_patterns(self, storage: StorageBackend, pattern: str) -> None:
        storage.set_many((name, 1) for name in HOSTILE_NAMES)
        assert storage.list(pattern) == PATTERNS[pattern]
        assert storage.list(pattern, limit=1) == PATTERNS[pattern][:1]
        assert storage.list(pattern, limit=2, offset=1) == PATTERNS[pattern][1:3]
        assert storage.list(pattern, offset=1) == PATTERNS[pattern][1:]
        assert storage.list(pattern, after="a") == [name for name in PATTERNS[pattern] if name.encode() > b"a"]

    def test_no_pattern_is_every_key_in_order_of_utf8(self, storage: StorageBackend) -> None:
        storage.set_many((name, 1) for name in reversed(HOSTILE_NAMES))
        assert storage.list() == HOSTILE_NAMES
        assert storage.list(None) == HOSTILE_NAMES
        assert storage.list(namespace="nowhere") == []

    @pytest.mark.parametrize("bad", [7, b"a", ["a"]], ids=repr)
    def test_a_pattern_is_a_string(self, storage: StorageBackend, bad: Any) -> None:
        with pytest.raises(InvalidInput):
            storage.list(bad)

    def test_a_long_pattern_does_not_take_forever(self, storage: StorageBackend) -> None:
        storage.set("a" * 1000, 1)
        assert storage.list("*a" * 300 + "*b") == []
        assert storage.list("*a" * 300 + "*") == ["a" * 1000]

    def test_paging_by_key(self, storage: StorageBackend) -> None:
        storage.set_many((key, 1) for key in KEYS)
        found, after = [], None
        while page := storage.list(limit=3, after=after):
            found += page
            after = page[-1]
        assert found == KEYS
        assert storage.list(after="aa") == ["b", "ba", "c"]
        assert storage.list(after="zzz") == []

    @pytest.mark.parametrize("bad", [-1, 1.5, True, "1"], ids=repr)
    def test_limit_and_offset_are_whole_numbers(self, storage: StorageBackend, bad: Any) -> None:
        calls: list[Callable[[], object]] = [
            lambda: storage.list(limit=bad),
            lambda: storage.list(offset=bad),
            lambda: storage.scan(limit=bad),
            lambda: storage.query(limit=bad),
            lambda: storage.query(offset=bad),
            lambda: storage.changes(limit=bad),
        ]
        for call in calls:
            with pytest.raises(InvalidInput):
                call()

    def test_a_limit_of_zero_gives_nothing(self, storage: StorageBackend) -> None:
        storage.set("a", 1)
        assert storage.list(limit=0) == []
        assert storage.list("a", limit=0) == []
        assert list(storage.scan(limit=0)) == []
        assert storage.query(limit=0) == []
        assert storage.list(offset=1) == []
        assert storage.query(offset=1) == []

    # -- scan ------------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        ("arguments", "keys"),
        [
            ({}, KEYS),
            ({"prefix": "a"}, ["a", "a/1", "a/10", "a/2"]),
            ({"prefix": "a/1"}, ["a/1", "a/10"]),
            ({"prefix": "x"}, []),
            ({"start": "a/10"}, ["a/10", "a/2", "b", "ba", "c"]),
            ({"end": "b"}, ["a", "a/1", "a/10", "a/2"]),
            ({"start": "a/1", "end": "ba"}, ["a/1", "a/10", "a/2", "b"]),
            ({"start": "c", "end": "b"}, []),
            ({"start": "b", "end": "b"}, []),
            ({"after": "a/2"}, ["b", "ba", "c"]),
            ({"after": "aa"}, ["b", "ba", "c"]),
            ({"after": "a", "start": "b"}, ["b", "ba", "c"]),
            ({"after": "b", "start": "a"}, ["ba", "c"]),
            ({"prefix": "a", "start": "a/1", "end": "a/2"}, ["a/1", "a/10"]),
            ({"prefix": "b", "after": "b"}, ["ba"]),
            ({"limit": 2}, ["a", "a/1"]),
            ({"prefix": "a", "after": "a", "limit": 2}, ["a/1", "a/10"]),
            ({"limit": 100}, KEYS),
        ],
        ids=repr,
    )
    def test_ranges(self, storage: StorageBackend, arguments: dict[str, Any], keys: list[str]) -> None:
        storage.set_many((key, 1) for key in KEYS)
        assert [entry.key for entry in storage.scan(**arguments)] == keys
        with storage.transaction() as tx:
            assert [entry.key for entry in tx.scan(**arguments)] == keys

    @pytest.mark.parametrize(
        ("arguments", "keys"),
        [
            ({}, KEYS[::-1]),
            ({"prefix": "a/"}, ["a/2", "a/10", "a/1"]),
            ({"start": "a/10", "end": "ba"}, ["b", "a/2", "a/10"]),
            ({"after": "b"}, ["a/2", "a/10", "a/1", "a"]),
            ({"after": "b", "end": "a/2"}, ["a/10", "a/1", "a"]),
            ({"prefix": "a/", "after": "a/2", "limit": 1}, ["a/10"]),
            ({"limit": 2}, ["c", "ba"]),
        ],
        ids=repr,
    )
    def test_ranges_in_reverse(self, storage: StorageBackend, arguments: dict[str, Any], keys: list[str]) -> None:
        storage.set_many((key, 1) for key in KEYS)
        assert [entry.key for entry in storage.scan(reverse=True, **arguments)] == keys

    def test_a_prefix_at_the_end_of_unicode(self, storage: StorageBackend) -> None:
        names = ["\ud7ff", "\ud7ffa", "\ue000", "\U0010ffff", "\U0010ffff\U0010ffff", "a\U0010ffff", "b"]
        storage.set_many((name, 1) for name in names)
        for prefix in ("\ud7ff", "\U0010ffff", "\U0010ffff\U0010ffff", "a\U0010ffff"):
            expected = sorted((name for name in names if name.startswith(prefix)), key=str.encode)
            assert [entry.key for entry in storage.scan(prefix=prefix)] == expected
            assert storage.list(prefix + "*") == expected

    def test_arguments_are_checked_at_the_call(self, storage: StorageBackend) -> None:
        for bad in ("\ud800", "a\0", 7):
            for name in ("prefix", "start", "end", "after"):
                with pytest.raises(InvalidKey):
                    storage.scan(**{name: bad})  # type: ignore[arg-type]
            with pytest.raises(InvalidKey):
                storage.list(after=bad)  # type: ignore[arg-type]

    def test_a_long_scan_meets_every_entry_once(self, storage: StorageBackend) -> None:
        storage.set_many((f"{number:05}", number) for number in range(5_000))
        assert [entry.value for entry in storage.scan()] == list(range(5_000))
        assert [entry.value for entry in storage.scan(reverse=True)] == list(range(4_999, -1, -1))
        assert [entry.value for entry in storage.scan(limit=4_321)] == list(range(4_321))

    def test_writing_between_the_steps_of_a_scan(self, storage: StorageBackend) -> None:
        storage.set_many((f"{number:04}", number) for number in range(3_000))
        seen = []
        for entry in storage.scan():
            seen.append(entry.key)
            storage.delete(entry.key)
            storage.set("!" + entry.key, 1)
        assert seen == [f"{number:04}" for number in range(3_000)]
        assert storage.count() == 3_000

    def test_a_scan_of_a_snapshot_is_of_one_state(self, storage: StorageBackend) -> None:
        storage.set_many((f"{number:04}", number) for number in range(3_000))
        with storage.transaction(read_only=True) as snapshot:
            seen = 0
            for entry in snapshot.scan():
                assert entry.value == seen
                seen += 1
                if seen == 1:
                    storage.set_many((f"{number:04}", -1) for number in range(3_000))
                    storage.set("9999", 1)
            assert seen == 3_000

    def test_a_scan_given_up_leaves_nothing_open(self, storage: StorageBackend) -> None:
        storage.set_many((f"{number:04}", number) for number in range(3_000))
        scans = [storage.scan() for _ in range(5)]
        assert [next(scan).value for scan in scans] == [0] * 5
        storage.clear()
        storage.optimize()
        storage.set("0000", 1)
        assert storage.list() == ["0000"]

    def test_scan_prefixes_gives_each_range_in_turn(self, storage: StorageBackend) -> None:
        storage.set_many([(key, key) for key in KEYS], namespace="n")
        storage.set("a/3", "elsewhere", namespace="m")
        for prefixes in (
            ["b", "a/1", "x", "a"],
            ["a", "a/", "a", "a/10"],
            ["c"],
            [],
            ["\U0010ffff", "\ud7ff", "a/2\x01"],
        ):
            wanted = [entry for prefix in prefixes for entry in storage.scan(namespace="n", prefix=prefix)]
            assert list(storage.scan_prefixes(prefixes, namespace="n")) == wanted
            with storage.transaction(read_only=True) as snapshot:
                assert list(snapshot.scan_prefixes(iter(prefixes), namespace="n")) == wanted
        assert list(storage.scan_prefixes(["a"], namespace="missing")) == []
        for bad in ([""], ["a\0"], [5]):
            with pytest.raises(InvalidKey):
                storage.scan_prefixes(bad, namespace="n")  # type: ignore[arg-type]

    def test_scan_prefixes_of_many_entries_and_many_prefixes(self, storage: StorageBackend) -> None:
        keys = [f"{letter}/{number:04}" for letter in "abc" for number in range(1_700)]
        storage.set_many([(key, None) for key in keys], namespace="n")
        found = storage.scan_prefixes(
            ["b/", "a/", "a/00", *(f"x{number}" for number in range(2_500)), "c/"], namespace="n"
        )
        wanted = [*keys[1_700:3_400], *keys[:1_700], *keys[:100], *keys[3_400:]]
        assert [entry.key for entry in found] == wanted
