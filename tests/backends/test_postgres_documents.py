"""The documents that filters see keep equality, order and parts of the strings and numbers they stand for."""

from __future__ import annotations

import itertools
import json
from decimal import Decimal

import pytest

from mycelia_storage.backends.postgres.documents import document_text, write_number, write_string
from mycelia_storage.values import encode_json

TEXTS = ["".join(part) for length in range(3) for part in itertools.product("\0\1\2\3\4\5\6", repeat=length)]


@pytest.mark.parametrize(
    "value", [{"a": 1, "b": [None, True, 0.1, 1e308, 5e-324, -0.0]}, "é\n\t\b😀", "e16", ["1e17"], 2**63 - 1, 1e15]
)
def test_usual_json_is_its_own_document(value: object) -> None:
    assert document_text(encode_json(value)) is None


def test_what_jsonb_cannot_hold_is_written_otherwise() -> None:
    text = document_text(encode_json({"a\0": ["\1", "\\u0000", 2.0**60, -(2.0**63), 2.0**63, 1e16]}))
    assert text is not None
    assert json.loads(text) == {
        "a\1\3": ["\1\4", "\\u0000", 2**60, -(2**63), 2.0**63, 10**16],
    }
    assert "1152921504606846976" in text


def test_written_strings_are_equal_ordered_and_parts_as_the_strings_are() -> None:
    assert not any("\0" in write_string(text) for text in TEXTS)
    for one, other in itertools.product(TEXTS, repeat=2):
        assert (write_string(one) < write_string(other)) is (one < other)
        assert (write_string(one) == write_string(other)) is (one == other)
        assert write_string(one).startswith(write_string(other)) is one.startswith(other)
        assert write_string(one).endswith(write_string(other)) is one.endswith(other)
        assert (write_string(other) in write_string(one)) is (other in one)


def test_documents_order_numbers_by_their_exact_values() -> None:
    around = [2**53, 2**54, 2**60, 2**62, 2**63 - 1024]
    numbers: list[int | float] = [0, 0.1, 0.3, 0.1 + 0.2, 1, 1.0, 1.5, 1e15, 1e22, 1e23, 2.0**63, 1e308, 5e-324]
    for at in around:
        numbers += [at - 1, at, at + 1, at + 2, float(at), float(at - 2**10), float(at + 2**9)]
    numbers += [-number for number in numbers]
    for one, other in itertools.product(numbers, repeat=2):
        stored = Decimal(document_text(encode_json(one)) or encode_json(one))
        assert (stored < write_number(other)) is (one < other), (one, other)
        assert (stored == write_number(other)) is (one == other), (one, other)
