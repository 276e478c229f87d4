"""Reads the words of a query before the server does, and lets through what computes.

A query is taken apart into words, numbers, strings and signs and put together again with single spaces, so that what
the server sees is what was understood here: comments are gone, and nothing that PostgreSQL reads in a way of its own
(``E'..'``, ``U&".."``, dollar quotes) is left. It begins with SELECT, WITH or VALUES, and has no semicolon but at its
end. A word before a parenthesis is a function of :data:`FUNCTIONS`, a keyword of :data:`OPENING`, the alias after AS,
or a CTE with its columns; a name with a schema is neither function nor type. Each ``?`` is a parameter.

After a dot no parenthesis is needed: to PostgreSQL ``(x).pg_sleep`` and, for the alias x of a function's rows,
``x.pg_sleep`` are calls. So such names are gathered, and one that is a function, as the server knows, but none of the
list is refused (:mod:`.sql_queries`).

What tables it reads the server tells by its locks (:mod:`.sql_queries`). The entries are locked by the views anyway, so
their names are refused here.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Final, NamedTuple

from ...errors import SqlRefused


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


FUNCTIONS: Final = _words("""
    abs acos age any_value array_agg array_length array_position array_to_string ascii asin atan atan2 avg
    bit_length bool_and bool_or btrim cardinality cast cbrt ceil ceiling char_length character_length chr coalesce
    concat concat_ws corr cos count cume_dist date_bin date_part date_trunc degrees dense_rank div encode every exp
    extract first_value floor greatest initcap json_array_length jsonb_agg jsonb_array_elements
    jsonb_array_elements_text jsonb_array_length jsonb_build_array jsonb_build_object jsonb_each jsonb_each_text
    jsonb_exists jsonb_exists_all jsonb_exists_any jsonb_extract_path jsonb_extract_path_text jsonb_object_agg
    jsonb_object_keys jsonb_typeof lag last_value lead least left length ln log log10 lower ltrim make_date max md5
    min mod mode now nth_value ntile nullif octet_length percent_rank percentile_cont percentile_disc pi position
    power radians random rank regr_slope replace reverse right round row_number rtrim sign sin split_part sqrt
    starts_with stddev stddev_pop stddev_samp string_agg string_to_array strpos substr substring sum tan to_char
    to_jsonb to_timestamp trim trunc unnest upper var_pop var_samp variance width_bucket
""")

#: Keywords and types that a parenthesis may follow.
OPENING: Final = _words("""
    all and any array as between bigint by case char cube decimal distinct else except exists filter from group
    having ilike in intersect interval is join lateral like limit materialized not numeric offset on or over
    recursive rollup row select sets some then time timestamp union using values varchar when where with within
""")

#: Words that a query has no use for.
_REFUSED: Final = _words("""
    current_catalog current_role current_schema current_user for into operator session_user system_user tablesample
    user
""")
_BEGINNING: Final = frozenset({"select", "with", "values", "("})
#: Words that a string may follow: types of constants, and keywords.
_BEFORE_STRING: Final = _words("""
    all and any as between by case date distinct else escape except from having ilike in intersect interval is like
    limit not offset on or over select separator similar some then time timestamp timestamptz to union using values
    when where zone year month day hour minute second
""")

_TOKEN: Final = re.compile(
    r"""(?P<space>[ \t\r\n\f]+|--[^\r\n]*)
    |(?P<comment>/\*)
    |(?P<string>'(?:[^']|'')*')
    |(?P<quoted>"(?:[^"]|"")+")
    |(?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
    |(?P<word>[^\W\d]\w*)
    |(?P<cast>::)
    |(?P<parameter>\?)
    |(?P<operator>(?:(?!--|/\*)[-+*/<>=~!@\#%^&|])+)
    |(?P<sign>[(),.;[\]])""",
    re.VERBOSE | re.DOTALL,
)


#: Types that tell names of the catalog for numbers.
_TELLING: Final = _words("""
    aclitem regclass regcollation regconfig regdatabase regdictionary regnamespace regoper regoperator regproc
    regprocedure regrole regtype
""")


class Token(NamedTuple):
    """A part of a query; ``name`` is what a word means: lower case, or what stands between its quotes."""

    kind: str
    text: str
    name: str = ""


class Query(NamedTuple):
    """A query as the server gets it, with ``%s`` for parameters. The CTEs that it begins with stand apart."""

    ctes: str
    """``name AS (...), ... SELECT ...`` where it begins with WITH, else empty."""
    select: str
    parameters: int
    members: frozenset[str]
    """Names after a dot that are no function of the list: columns, or calls."""


def read_query(sql: str) -> Query:
    """The query, taken apart and put together. Raises SqlRefused."""
    tokens = _tokens(sql)
    while tokens and tokens[-1].text == ";":
        tokens.pop()
    if not tokens or (tokens[0].text.lower() not in _BEGINNING):
        raise SqlRefused("a query is a SELECT")
    depth = 0
    for at, token in enumerate(tokens):
        if token.text == ";":
            raise SqlRefused("one statement at a time")
        if token.kind == "sign":
            depth += {"(": 1, ")": -1}.get(token.text, 0)
            if depth < 0:
                raise SqlRefused("a parenthesis is closed that was not opened")
        _check(tokens, at)
    if depth:
        raise SqlRefused("a parenthesis is not closed")
    texts = ["%s" if token.kind == "parameter" else token.text.replace("%", "%%") for token in tokens]
    count = sum(token.kind == "parameter" for token in tokens)
    after_dots = {token.name for before, token in pairwise(tokens) if before.text == "."}
    members = frozenset(after_dots - FUNCTIONS - {""})
    if tokens[0].name != "with":
        return Query("", " ".join(texts), count, members)
    ctes = texts[2 if tokens[1:] and tokens[1].name == "recursive" else 1 :]
    return Query(" ".join(ctes), "", count, members)


def _tokens(sql: str) -> list[Token]:
    found: list[Token] = []
    at, touching = 0, False
    while at < len(sql):
        match = _TOKEN.match(sql, at)
        if match is None:
            raise SqlRefused(f"the character {sql[at]!r} has no meaning in a query here")
        kind = str(match.lastgroup)
        if kind == "comment":
            at, touching = _end_of_comment(sql, at), False
            continue
        at = match.end()
        if kind == "space":
            touching = False
            continue
        text = match[0]
        if (
            touching
            and kind in ("string", "quoted", "word", "number")
            and found[-1].kind
            in (
                "string",
                "quoted",
                "word",
                "number",
            )
        ):
            raise SqlRefused(f"a space is missing before {text[:20]!r}")
        name = text.lower() if kind == "word" else text[1:-1].replace('""', '"') if kind == "quoted" else ""
        found.append(Token(kind, text, name))
        touching = True
    return found


def _end_of_comment(sql: str, at: int) -> int:
    depth = 0
    for mark in re.finditer(r"/\*|\*/", sql[at:]):
        depth += 1 if mark[0] == "/*" else -1
        if depth == 0:
            return at + mark.end()
    raise SqlRefused("a comment has no end")


def _check(tokens: list[Token], at: int) -> None:
    token = tokens[at]
    text, after = _text(tokens, at - 1), _text(tokens, at + 1)
    if token.kind == "word" and token.name in _REFUSED and text != ".":
        raise SqlRefused(f"a query may not use {token.name}")
    if token.kind not in ("word", "quoted"):
        return
    if token.name.lstrip("_") in _TELLING:
        raise SqlRefused(f"a query may not use the type {token.name}")
    if token.name.startswith("storage_"):
        raise SqlRefused(f"a query may use the views alone, not {token.name}")
    if after == "(":
        _check_call(tokens, at)
    if after == "." and text.lower() in ("::", "as"):
        raise SqlRefused(f"a query may not use the type or alias {token.name}.{_text(tokens, at + 2)}")
    follows_string = at + 1 < len(tokens) and tokens[at + 1].kind == "string"
    if follows_string and (token.kind == "quoted" or text == "." or token.name not in _BEFORE_STRING):
        raise SqlRefused(f"a string may not follow {token.name}")


def _check_call(tokens: list[Token], at: int) -> None:
    name, before = tokens[at].name, _text(tokens, at - 1).lower()
    if before != ".":
        if name in FUNCTIONS or (tokens[at].kind == "word" and name in OPENING):
            return
        if before == "as" and tokens[at - 1].kind == "word":
            return
        if before in ("with", "recursive", ",") and _is_cte(tokens, at):
            return
    raise SqlRefused(f"a query may not use the function {name}")


def _is_cte(tokens: list[Token], at: int) -> bool:
    """Whether ``name (column, ...) AS [NOT MATERIALIZED] (SELECT`` stands there: no call could go on so."""
    at += 2
    while at < len(tokens) and (tokens[at].kind in ("word", "quoted") or tokens[at].text == ","):
        at += 1
    rest = [token.text.lower() for token in tokens[at : at + 6] if token.text.lower() not in ("not", "materialized")]
    return rest[:3] == [")", "as", "("] and rest[3:4] in (["select"], ["with"])


def _text(tokens: list[Token], at: int) -> str:
    return tokens[at].text if 0 <= at < len(tokens) else ""
