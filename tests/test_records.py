"""Reading files of records: every format, bad records with their lines, bounded buffers."""

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from mycelia_storage import json_stream, records
from mycelia_storage.errors import InvalidInput
from mycelia_storage.records import Place, Record, RecordFile


def read(text: str | bytes, format: str, place: Place = records.START) -> list[Record]:
    content = text.encode() if isinstance(text, str) else text
    return list(RecordFile(None, format, io.BytesIO(content)).records(place))


def values(found: list[Record]) -> list[Any]:
    return [record.value for record in found]


def bad_lines(found: list[Record]) -> list[int]:
    return [record.line for record in found if record.error]


def test_json_lines_pass_over_blank_lines_and_need_no_last_newline() -> None:
    found = read('{"a": 1}\n\n  \r\n[2]', "jsonl")
    assert [(record.line, record.number, record.value) for record in found] == [(1, 1, {"a": 1}), (4, 2, [2])]


def test_json_lines_go_on_behind_a_bad_line() -> None:
    found = read(b'{"a": 1}\n{"a": \n\xff\n{"a": NaN}\n{"a": 2}\n', "jsonl")
    assert bad_lines(found) == [2, 3, 4]
    assert [record.value for record in found if not record.error] == [{"a": 1}, {"a": 2}]


def test_json_lines_begin_behind_a_place() -> None:
    text = "1\n2\n\n3\n"
    second = read(text, "jsonl")[1]
    rest = read(text, "jsonl", Place(second.line + 1, second.number, second.next_byte))
    assert [(record.line, record.number, record.value) for record in rest] == [(4, 3, 3)]


def test_a_byte_order_mark_is_no_data() -> None:
    assert values(read(b"\xef\xbb\xbf1\n2", "jsonl")) == [1, 2]
    assert values(read(b"\xef\xbb\xbf[1]", "json")) == [1]
    assert values(read(b"\xef\xbb\xbfa\n1\n", "csv")) == [{"a": "1"}]


def test_long_integers_keep_their_digits() -> None:
    assert values(read("18446744073709551616\n-9223372036854775808\n", "jsonl")) == [2**64, -(2**63)]


def test_a_line_over_the_bound_is_bad_and_the_next_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_RECORD_BYTES", 10)
    found = read('"12345678901234567890123456789"\n7\n', "jsonl")
    assert bad_lines(found) == [1]
    assert found[1].value == 7
    assert found[1].line == 2


def test_csv_cells_are_strings_and_quoted_ones_may_hold_newlines() -> None:
    found = read('id,text\n1,"a\nb"\n2,"say ""hi"""\n', "csv")
    assert [(record.line, record.value) for record in found] == [
        (2, {"id": "1", "text": "a\nb"}),
        (4, {"id": "2", "text": 'say "hi"'}),
    ]


def test_csv_rows_that_do_not_fit_the_header_are_bad() -> None:
    found = read("id,text\n1\n2,b\n3,c,d\n", "csv")
    assert bad_lines(found) == [2, 4]
    assert [record.value for record in found if not record.error] == [{"id": "2", "text": "b"}]


def test_csv_with_a_column_twice_is_bad_as_a_whole() -> None:
    assert bad_lines(read("id,id\n1,2\n", "csv")) == [1]


def test_csv_bytes_that_are_no_text_stay_visible_as_surrogates() -> None:
    (found,) = read(b"id\n\xff\n", "csv")
    assert found.value == {"id": "\udcff"}


def test_a_json_array_gives_elements_with_their_lines() -> None:
    found = read('[\n  {"a": [1, "]"]},\n  12,\n  null\n]\n', "json")
    assert [(record.line, record.value) for record in found] == [(2, {"a": [1, "]"]}), (3, 12), (4, None)]


def test_a_json_object_gives_members_with_their_names() -> None:
    found = read('{"a": 1, "b": {"c": 2}}', "json")
    assert [(record.name, record.value) for record in found] == [("a", 1), ("b", {"c": 2})]


@pytest.mark.parametrize("text", ["[]", "{}", " [ ] ", "{\n}\n"])
def test_empty_json_has_no_records(text: str) -> None:
    assert read(text, "json") == []


@pytest.mark.parametrize(
    ("text", "line", "good"),
    [
        ("", 1, 0),
        ("7", 1, 0),
        ("[1,\n2", 2, 2),
        ("[1,\n2,", 2, 2),
        ("[1,\n\ntru]", 3, 1),
        ("[1\n2]", 2, 1),
        ("[1,\n]", 2, 1),
        ('["a\n', 1, 0),
        ("{1: 2}", 1, 0),
        ('{"a" 2}', 1, 0),
        ("[1]\n[2]", 2, 1),
        ("[NaN]", 1, 0),
        ("[" * 100_000, 1, 0),
    ],
)
def test_broken_json_ends_with_one_bad_record(text: str, line: int, good: int) -> None:
    found = read(text, "json")
    assert len(found) == good + 1
    assert found[-1].error is not None
    assert found[-1].line == line


def test_json_that_is_no_text_is_bad() -> None:
    assert bad_lines(read(b'["\xff"]', "json")) == [1]


@settings(max_examples=200, deadline=None)
@given(
    data=st.lists(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
            max_leaves=6,
        ),
        max_size=6,
    ),
    chunk=st.integers(1, 40),
    indent=st.sampled_from([None, 1]),
    ascii_only=st.booleans(),
)
def test_json_read_in_any_pieces_is_what_the_parser_reads_whole(
    data: list[Any], chunk: int, indent: int | None, ascii_only: bool
) -> None:
    text = json.dumps(data, indent=indent, ensure_ascii=ascii_only)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "_CHUNK", chunk)
        try:
            content = text.encode()
        except UnicodeEncodeError:
            return
        found = values(read(content, "json"))
    assert json.dumps(found) == json.dumps(json.loads(text))


def test_a_large_json_array_is_read_with_a_small_buffer() -> None:
    class Endless(io.RawIOBase):
        """An array without end; it counts what was asked of it."""

        given = 0

        def read(self, size: int = -1) -> bytes:
            self.given += size
            return (b"[" if self.given == size else b"") + b"1234567, " * (size // 9)

    source = Endless()
    elements = json_stream.read_elements(source, 1000)  # type: ignore[arg-type]
    for _ in range(100_000):
        next(elements)
    assert source.given < 2_000_000


def test_an_element_over_the_bound_is_bad() -> None:
    content = io.BytesIO(b'["' + b"x" * 1_000_000 + b'"]')
    with pytest.raises(json_stream.JsonSyntaxError, match="longer than 1000"):
        list(json_stream.read_elements(content, 1000))


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.jsonl", '{"a": "1"}\n'), ("a.NDJSON", '{"a": "1"}\n'), ("a.json", '[{"a": "1"}]'), ("a.csv", "a\n1\n")],
)
@pytest.mark.parametrize("compressed", [False, True])
def test_the_name_tells_the_format(tmp_path: Path, name: str, text: str, compressed: bool) -> None:
    path = tmp_path / (name + ".gz" if compressed else name)
    path.write_bytes(gzip.compress(text.encode()) if compressed else text.encode())
    with RecordFile(path) as source:
        assert values(list(source.records())) == [{"a": "1"}]
        assert source.bytes_read() == source.size


def test_an_unknown_name_asks_for_the_format(tmp_path: Path) -> None:
    path = tmp_path / "turns.txt"
    path.write_text("1\n")
    with pytest.raises(InvalidInput, match="jsonl"):
        RecordFile(path)
    with RecordFile(path, "jsonl") as source:
        assert values(list(source.records())) == [1]


def test_a_damaged_compressed_file_is_read_up_to_the_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b"1\n" * 100_000)[:-20])
    with RecordFile(path) as source:
        *good, bad = source.records()
    assert good
    assert not bad_lines(good)
    assert bad.error is not None
    assert "damaged" in bad.error
    path.write_bytes(b"no gzip at all")
    with RecordFile(path) as source:
        assert bad_lines(list(source.records())) == [1]
