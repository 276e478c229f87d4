"""Following composite keys, and scans by their parts."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest

from ..contract import StorageBackend
from ..errors import InvalidFilter, InvalidInput, InvalidKey, InvalidNamespace
from ..filters import Filter, match, where
from ..names import KeyPart, join_key, split_key
from .fixtures import OpenStorage

SEED = 20_261_121

#: Text that an encoding, SQL, JSON or a pattern could take for something else.
ODD: list[KeyPart] = [
    "a",
    "A",
    "a b",
    "'",
    '"',
    "\\",
    "\\u0001",
    "%",
    "[",
    "\x01",
    "\x02",
    "\x02\x03",
    "é",
    "\U0001f642",
]
ODD += ["\ue000", 0, 7, -7, "0", "i8000000000000007", "sa", "{s}", "%s", "%condition%", ","]


def led_to(
    storage: StorageBackend,
    starts: list[KeyPart],
    namespaces: list[str],
    part: int,
    second: list[KeyPart] | None,
    condition: Filter | None,
    hops: int,
) -> dict[KeyPart, int]:
    """The definition, from all keys; in the order of the contract."""
    found = dict.fromkeys(starts, 0)
    for hop in range(1, hops + 1):
        for entry in [entry for namespace in namespaces for entry in storage.scan(namespace=namespace)]:
            parts = split_key(entry.key)
            if found.get(parts[0], hop) < hop and len(parts) > part:
                if second is not None and not (len(parts) > 2 and parts[1] in second):
                    continue
                if condition is None or match(condition, entry):
                    found.setdefault(parts[part], hop)
    return dict(sorted(found.items(), key=lambda item: (item[1], join_key(item[0]))))


class FollowingContract:
    """follow, follow_keys, and scan_prefixes with parts."""

    def test_follow_goes_from_part_to_part(self, storage: StorageBackend) -> None:
        for link in ("ada|knows|bob", "bob|knows|eve", "bob|likes|dan", "eve|knows|ada", "dan|knows|fay"):
            storage.set(join_key(*link.split("|")), None, namespace="n")
        follow: Any = lambda starts, **rest: storage.follow(starts, namespaces=["n"], part=2, **rest)  # noqa: E731
        assert follow(["ada"]) == {"ada": 0, "bob": 1}
        assert list(follow(["ada"], hops=2).items()) == [("ada", 0), ("bob", 1), ("dan", 2), ("eve", 2)]
        assert follow(["ada"], hops=9) == {"ada": 0, "bob": 1, "dan": 2, "eve": 2, "fay": 3}
        assert follow(["ada"], second=["knows"], hops=9) == {"ada": 0, "bob": 1, "eve": 2}
        assert follow(["ada", "dan", "ada"]) == {"ada": 0, "dan": 0, "bob": 1, "fay": 1}
        assert follow(["nobody"], hops=3) == {"nobody": 0}
        assert follow(["ada"], hops=0) == {"ada": 0}
        assert follow([], hops=3) == {}
        assert list(follow(["ada"], hops=9, limit=3)) == ["ada", "bob", "dan"]
        assert follow(["ada"], limit=0) == {}
        assert storage.follow(["ada"], namespaces=["missing"], part=2) == {"ada": 0}
        assert storage.follow(["ada"], namespaces=[], part=2, hops=2) == {"ada": 0}
        assert storage.follow(["ada"], namespaces=["n"], part=1, hops=2) == {"ada": 0, "knows": 1}
        assert storage.follow(["ada"], namespaces=["n"], part=3, hops=2) == {"ada": 0}

    def test_follow_takes_only_entries_that_match_and_live(self, open_storage: OpenStorage) -> None:
        with open_storage(sweep_interval=3_600) as storage:
            storage.set(join_key("a", "b"), {"weight": 1}, namespace="n")
            storage.set(join_key("b", "c"), {"weight": 5}, namespace="n")
            storage.set(join_key("c", "d"), {"weight": 1}, namespace="n", ttl=0.05)
            storage.set(join_key("d", "a"), b"bytes", namespace="m")
            follow: Any = lambda **rest: storage.follow(["a"], namespaces=["n", "m"], part=1, hops=5, **rest)  # noqa: E731
            assert follow(filter=where("weight") < 3) == {"a": 0, "b": 1}
            time.sleep(0.1)
            assert follow() == {"a": 0, "b": 1, "c": 2}
            assert follow(filter=where("weight") > 0) == {"a": 0, "b": 1, "c": 2}
            # A list as operand is more than SQL decides everywhere.
            assert follow(filter=where("weight").is_in([1, [2], {"a": 1}])) == {"a": 0, "b": 1}
            with storage.transaction() as tx:
                tx.set(join_key("c", "z"), {"weight": 1}, namespace="n")
                assert tx.follow(["b"], namespaces=["n"], part=1, hops=2) == {"b": 0, "c": 1, "z": 2}
            with storage.transaction(read_only=True) as snapshot:
                storage.delete(join_key("c", "z"), namespace="n")
                assert "z" in snapshot.follow(["b"], namespaces=["n"], part=1, hops=2)

    @pytest.mark.parametrize("seed", range(SEED, SEED + 6))
    def test_follow_is_its_definition(self, storage: StorageBackend, seed: int) -> None:
        print("seed", seed)
        chosen = random.Random(seed)
        names = chosen.sample(ODD, 14)
        kinds = chosen.sample(ODD, 3)
        for namespace in ("one", "two"):
            links = [
                join_key(chosen.choice(names), chosen.choice(kinds), chosen.choice(names), *([number] * (number % 2)))
                for number in range(26)
            ]
            storage.set_many([(link, {"n": chosen.randrange(4)}) for link in links], namespace=namespace)
        for _ in range(25):
            starts = chosen.sample(names, chosen.randrange(4))
            namespaces = chosen.choice([["one"], ["one", "two"], ["two", "one", "two"], ["one", "missing"]])
            second = chosen.choice([None, None, kinds[:1], kinds[1:], []])
            condition = chosen.choice([None, None, where("n") > 1, ~(where("n") == 2)])
            part, hops = chosen.choice([1, 2, 2, 2, 3]), chosen.randrange(8)
            if part == 1:
                second = None
            wanted = led_to(storage, starts, namespaces, part, second, condition, hops)
            for limit in (None, chosen.randrange(12)):
                found = storage.follow(
                    starts,
                    namespaces=namespaces,
                    part=part,
                    second=second,
                    filter=condition,
                    hops=hops,
                    limit=limit,
                )
                assert list(found.items()) == list(wanted.items())[:limit]
            near = led_to(storage, starts, namespaces, part, second, condition, 1)
            first: dict[KeyPart, tuple[str, str]] = {}
            for entry in [
                entry for namespace in dict.fromkeys(namespaces) for entry in storage.scan(namespace=namespace)
            ]:
                parts = split_key(entry.key)
                if len(parts) <= part or not (second is None or (len(parts) > 2 and parts[1] in second)):
                    continue
                if parts[0] in starts and (condition is None or match(condition, entry)):
                    first.setdefault(parts[part], (entry.namespace, entry.key))
            assert near.keys() == {*starts, *first}
            keys = storage.follow_keys(
                starts, namespaces=namespaces, part=part, second=second, filter=condition, limit=limit
            )
            assert list(keys.items()) == sorted(first.items(), key=lambda item: join_key(item[0]))[:limit]

    def test_follow_many_keys(self, storage: StorageBackend) -> None:
        # A tree, twenty below each, three levels below "1"; all of the last lead back to it.
        tree = {str(number): str(number // 20) for number in range(20, 8_020)}
        links = [join_key(up, "has", down) for down, up in tree.items()]
        links += [join_key(str(number), "of", "1") for number in range(8_000, 8_020)]
        storage.set_many([(link, None) for link in links], namespace="n")
        levels = [["1"]]
        for _ in range(3):
            above = set(levels[-1])
            levels.append(sorted(down for down, up in tree.items() if up in above))
        assert [len(level) for level in levels] == [1, 20, 400, 20]
        wanted = [(name, hops) for hops, level in enumerate(levels) for name in level]
        for limit in (None, 0, 1, 10, 21, 22, 100, 421, 430, 1_000):
            found = storage.follow(["1"], namespaces=["n"], part=2, hops=3, limit=limit)
            assert list(found.items()) == wanted[:limit]

    def test_follow_in_many_namespaces(self, storage: StorageBackend) -> None:
        names = [f"n{number}" for number in range(130)]
        for number, name in enumerate(names):
            storage.set(join_key(str(number), str(number + 1)), None, namespace=name)
        for several in (names[:90], names):
            found = storage.follow(["0"], namespaces=several, part=1, hops=4)
            assert found == {str(number): number for number in range(5)}
            keys = storage.follow_keys(["3", "60"], namespaces=reversed(several), part=1)
            assert keys == {"4": ("n3", join_key("3", "4")), "61": ("n60", join_key("60", "61"))}

    def test_follow_refuses_what_it_cannot_follow(self, storage: StorageBackend) -> None:
        storage.set(join_key("a", "b") + "\x01loose", None, namespace="n")
        good: dict[str, Any] = {"namespaces": ["n"], "part": 1}
        assert storage.follow(["a"], **good) == {"a": 0, "b": 1}
        with pytest.raises(InvalidKey):
            storage.follow(["a"], namespaces=["n"], part=2)
        bads: list[dict[str, Any]] = [{"part": number} for number in (0, -1, True, 512)]
        bads += [{"part": 1, "second": ["b"]}, {"part": 2, "second": "b"}, {"hops": -1}, {"hops": None}]
        for bad in [*bads, {"limit": -1}, {"namespaces": "n"}]:
            with pytest.raises(InvalidInput):
                storage.follow(["a"], **{**good, **bad})
        with pytest.raises(InvalidInput):
            storage.follow("a", **good)
        with pytest.raises(InvalidKey):
            storage.follow([5.0], **good)  # type: ignore[list-item]
        with pytest.raises(InvalidNamespace):
            storage.follow(["a"], namespaces=[""], part=1)
        with pytest.raises(InvalidFilter):
            storage.follow(["a"], **good, filter={"field": "a..b", "operator": "eq", "value": 1})
        # Parts so long that no key could lead on from them.
        longest = "x" * 1_023
        assert storage.follow([longest], **good, hops=2) == {longest: 0}

    def test_scan_prefixes_by_parts(self, storage: StorageBackend) -> None:
        chosen = random.Random(SEED)
        keys = [join_key(*chosen.choices(ODD, k=chosen.randrange(1, 5))) for _ in range(300)]
        storage.set_many([(key, None) for key in keys] + [("plain", None)], namespace="n")
        prefixes = [join_key(one) for one in ODD[:9]] + ["p", "i"]
        for _ in range(20):
            parts = {number: chosen.sample(ODD, chosen.randrange(8)) for number in chosen.sample(range(4), 2)}
            wanted = [
                entry
                for entry in storage.scan_prefixes(prefixes, namespace="n")
                if entry.key != "plain"
                and all(
                    len(split_key(entry.key)) > number and split_key(entry.key)[number] in among
                    for number, among in parts.items()
                )
            ]
            assert list(storage.scan_prefixes(prefixes, namespace="n", parts=parts)) == wanted
        assert list(storage.scan_prefixes(prefixes, namespace="n", parts={0: []})) == []
        wrong: list[Any] = [{-1: ["a"]}, {"a": ["a"]}, {0: "a"}, {512: []}]
        for bad in wrong:
            with pytest.raises(InvalidInput):
                storage.scan_prefixes(prefixes, namespace="n", parts=bad)
