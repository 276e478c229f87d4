"""The limits of entities, and the checks in the order in which they are made. Lengths are bytes of UTF-8."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from .entities import ExperienceUpdate, NewExperience
from .errors import ContentTooLarge, DimensionMismatch, InvalidField, RequiredField, TooManyItems
from .kinds import Difficulty, ExperienceType, Severity, SuccessPattern, UserPreference

MAX_NAME: Final = 255
MAX_CONTENT: Final = 102_400
MAX_INSIGHT: Final = 51_200
MAX_DOMAINS: Final = 50
MAX_DOMAIN: Final = 100
MAX_FILES: Final = 100
MAX_FILE: Final = 500
MAX_SOURCE_AGENT: Final = 256
MAX_TAGS: Final = 50
MAX_TAG_KEY: Final = 100
MAX_TAG_VALUE: Final = 200
MAX_RELATION_METADATA: Final = 10_240
MAX_SOURCES: Final = 100
MAX_AGENT: Final = 255
MAX_TASK: Final = 1_024
MAX_RESULTS: Final = 1_000
MAX_DIMENSION: Final = 4_096
MAX_PROVIDER: Final = 255


def check_new(new: NewExperience) -> None:
    """The fields before the vector."""
    check_content(new.content, MAX_CONTENT)
    check_score("importance", new.importance)
    check_score("confidence", new.confidence)
    check_strings("domain", new.domain, MAX_DOMAINS, MAX_DOMAIN)
    check_strings("related_files", new.related_files, MAX_FILES, MAX_FILE)


def check_new_rest(new: NewExperience) -> None:
    """The fields after the vector."""
    check_text("source_agent", new.source_agent, MAX_SOURCE_AGENT)
    if new.source_task is not None:
        check_string("source_task", new.source_task)
    check_type(new.experience_type)
    check_tags(new.tags)


def check_update(update: ExperienceUpdate) -> None:
    """The fields that a patch has."""
    if update.importance is not None:
        check_score("importance", update.importance)
    if update.confidence is not None:
        check_score("confidence", update.confidence)
    if update.domain is not None:
        check_strings("domain", update.domain, MAX_DOMAINS, MAX_DOMAIN)
    if update.related_files is not None:
        check_strings("related_files", update.related_files, MAX_FILES, MAX_FILE)
    if update.archived is not None and not isinstance(update.archived, bool):
        raise InvalidField("archived", "is true or false")
    if update.tags is not None:
        check_tags(update.tags)


def check_collective(name: Any, owner: Any) -> None:
    """Name and owner of a collective."""
    if name == "":
        raise RequiredField("name")
    check_string("name", name)
    if not name.strip():
        raise InvalidField("name", "is blank")
    if _size("name", name) > MAX_NAME:
        raise InvalidField("name", f"is longer than {MAX_NAME} bytes")
    if owner is not None:
        if owner == "":
            raise RequiredField("owner_id")
        check_string("owner_id", owner)


def check_content(content: Any, most: int) -> None:
    """The text of an experience or insight."""
    if content == "" or content is None:
        raise RequiredField("content")
    check_string("content", content)
    size = _size("content", content)
    if size > most:
        raise ContentTooLarge(size, most)


def check_type(kind: Any) -> None:
    """An experience type and the scores in it."""
    if not isinstance(kind, ExperienceType) or type(kind) is ExperienceType:
        raise InvalidField("experience_type", "is none of the nine types")
    for name, value in vars(kind).items():
        if name in ("quality", "strength", "worked", "severity"):
            continue
        if value is not None or name not in ("problem_ref", "category"):
            check_string(f"experience_type.{name}", value)
    if isinstance(kind, SuccessPattern):
        check_score("quality", kind.quality)
    elif isinstance(kind, UserPreference):
        check_score("strength", kind.strength)
    elif isinstance(kind, Difficulty) and kind.severity not in tuple(Severity):
        raise InvalidField("severity", f"is one of {', '.join(Severity)}")


def check_score(field: str, score: Any) -> None:
    """A number from 0 to 1."""
    if not isinstance(score, int | float) or isinstance(score, bool) or not 0 <= score <= 1:
        raise InvalidField(field, "is a number from 0 to 1")


def check_strings(field: str, items: Any, most: int, longest: int) -> None:
    """A list of strings."""
    if isinstance(items, str) or not isinstance(items, Sequence):
        raise InvalidField(field, "is a list of strings")
    if len(items) > most:
        raise TooManyItems(field, len(items), most)
    for item in items:
        check_string(field, item)
        if _size(field, item) > longest:
            raise InvalidField(field, f"has an item longer than {longest} bytes")


def check_tags(tags: Any) -> None:
    """Pairs of strings."""
    if not isinstance(tags, Mapping):
        raise InvalidField("tags", "is a mapping of strings to strings")
    if len(tags) > MAX_TAGS:
        raise TooManyItems("tags", len(tags), MAX_TAGS)
    for key, value in tags.items():
        for part, longest in ((key, MAX_TAG_KEY), (value, MAX_TAG_VALUE)):
            check_string("tags", part)
            if _size("tags", part) > longest:
                raise InvalidField("tags", f"has a part longer than {longest} bytes")


def check_text(field: str, text: Any, longest: int) -> None:
    """A string that is not empty."""
    if text == "":
        raise RequiredField(field)
    check_optional(field, text, longest)


def check_optional(field: str, text: Any, longest: int) -> None:
    """A string up to a length."""
    check_string(field, text)
    if _size(field, text) > longest:
        raise InvalidField(field, f"is longer than {longest} bytes")


def check_string(field: str, text: Any) -> None:
    """A string that can be stored."""
    if not isinstance(text, str):
        raise InvalidField(field, "is a string")
    _size(field, text)


def check_count(field: str, count: Any, most: int = MAX_RESULTS) -> None:
    """How many results are wanted: 1 to 1,000."""
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= most:
        raise InvalidField(field, f"is a whole number from 1 to {most:,}")


def check_paging(limit: Any, offset: Any = 0) -> None:
    """Limit and offset of a page."""
    for field, number in (("limit", limit), ("offset", offset)):
        if not isinstance(number, int) or isinstance(number, bool) or number < 0:
            raise InvalidField(field, "is a whole number of at least 0")


def pack_vector(vector: Any, dimension: int) -> bytes:
    """A vector as the bytes of float32. Raises DimensionMismatch, InvalidField for what is not finite."""
    import numpy

    try:
        with numpy.errstate(over="ignore"):
            numbers = (
                numpy.frombuffer(bytes(vector), dtype="<f4")
                if isinstance(vector, bytes | bytearray | memoryview)
                else numpy.asarray(vector, dtype="<f4")
            )
    except (TypeError, ValueError, OverflowError):
        raise InvalidField("embedding", "is a list of numbers, or the bytes of float32 numbers") from None
    if numbers.ndim != 1:
        raise InvalidField("embedding", "is one row of numbers")
    if len(numbers) != dimension:
        raise DimensionMismatch(dimension, len(numbers))
    if not numpy.isfinite(numbers).all():
        raise InvalidField("embedding", "holds NaN or infinity")
    return numbers.tobytes()


def is_zero(vector: bytes) -> bool:
    """Whether a vector has no direction."""
    return not any(vector) or not _numbers(vector).any()


def is_finite(number: Any) -> bool:
    """Whether it is a number that can be counted with."""
    return isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number)


def _numbers(vector: bytes) -> Any:
    import numpy

    return numpy.frombuffer(vector, dtype="<f4")


def _size(field: str, text: str) -> int:
    if text.isascii():
        return len(text)
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise InvalidField(field, "holds a lone surrogate") from None
