"""What an experience, relation, insight or log row can be. Filters by type compare the tag alone.

====  =======================  ==================================================
tag   experience               payload
====  =======================  ==================================================
0     Difficulty               description, severity
1     Solution                 problem_ref (an experience, unchecked), approach, worked
2     ErrorPattern             signature, fix, prevention
3     SuccessPattern           task_type, approach, quality in [0, 1]
4     UserPreference           category, preference, strength in [0, 1]
5     ArchitecturalDecision    decision, rationale
6     TechInsight              technology, insight
7     Fact                     statement, source
8     Generic                  category
====  =======================  ==================================================
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, ClassVar, Final

from ...errors import StorageCorrupt


class Severity(StrEnum):
    """How bad a difficulty is."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class RelationType(StrEnum):
    """How one experience relates to another."""

    SUPPORTS = "supports"
    CONTRADICTS = "contradicts"
    ELABORATES = "elaborates"
    SUPERSEDES = "supersedes"
    IMPLIES = "implies"
    RELATED_TO = "related_to"


class Direction(StrEnum):
    """Which relations of an experience: those it is the source of, the target of, or both."""

    OUTGOING = "outgoing"
    INCOMING = "incoming"
    BOTH = "both"


class InsightType(StrEnum):
    """How an insight was derived."""

    PATTERN = "pattern"
    SYNTHESIS = "synthesis"
    ABSTRACTION = "abstraction"
    CORRELATION = "correlation"


class Event(StrEnum):
    """What happened to an entity."""

    CREATED = "created"
    UPDATED = "updated"
    ARCHIVED = "archived"
    DELETED = "deleted"


class Entity(StrEnum):
    """What a log row is about."""

    EXPERIENCE = "experience"
    RELATION = "relation"
    INSIGHT = "insight"
    COLLECTIVE = "collective"


@dataclass(frozen=True)
class ExperienceType:
    """One of the nine kinds of experience."""

    tag: ClassVar[int]

    def to_json(self) -> dict[str, Any]:
        """JSON data with the name of the kind."""
        data = {field.name: getattr(self, field.name) for field in fields(self)}
        plain = {name: str(value) if isinstance(value, Severity) else value for name, value in data.items()}
        return {"kind": type(self).__name__} | plain

    @staticmethod
    def from_json(data: dict[str, Any]) -> ExperienceType:
        """What :meth:`to_json` made. Raises StorageCorrupt."""
        try:
            kind = _BY_NAME[data["kind"]]
            given = {name: value for name, value in data.items() if name != "kind"}
            if "severity" in given:
                given["severity"] = Severity(given["severity"])
            return kind(**given)
        except (KeyError, TypeError, ValueError) as error:
            raise StorageCorrupt("an experience has a type that cannot be read") from error


@dataclass(frozen=True)
class Difficulty(ExperienceType):
    """Something that was hard."""

    tag: ClassVar[int] = 0
    description: str
    severity: Severity = Severity.MEDIUM


@dataclass(frozen=True)
class Solution(ExperienceType):
    """What was tried against a problem, and whether it worked."""

    tag: ClassVar[int] = 1
    approach: str
    worked: bool
    problem_ref: str | None = None


@dataclass(frozen=True)
class ErrorPattern(ExperienceType):
    """An error that comes back, its fix, and how to prevent it."""

    tag: ClassVar[int] = 2
    signature: str
    fix: str
    prevention: str


@dataclass(frozen=True)
class SuccessPattern(ExperienceType):
    """What works for a kind of task."""

    tag: ClassVar[int] = 3
    task_type: str
    approach: str
    quality: float


@dataclass(frozen=True)
class UserPreference(ExperienceType):
    """What a user likes."""

    tag: ClassVar[int] = 4
    category: str
    preference: str
    strength: float


@dataclass(frozen=True)
class ArchitecturalDecision(ExperienceType):
    """A decision and its reason."""

    tag: ClassVar[int] = 5
    decision: str
    rationale: str


@dataclass(frozen=True)
class TechInsight(ExperienceType):
    """Something learned about a technology."""

    tag: ClassVar[int] = 6
    technology: str
    insight: str


@dataclass(frozen=True)
class Fact(ExperienceType):
    """A statement and where it comes from."""

    tag: ClassVar[int] = 7
    statement: str
    source: str


@dataclass(frozen=True)
class Generic(ExperienceType):
    """Anything else."""

    tag: ClassVar[int] = 8
    category: str | None = None


KINDS: Final[tuple[type[ExperienceType], ...]] = (
    Difficulty,
    Solution,
    ErrorPattern,
    SuccessPattern,
    UserPreference,
    ArchitecturalDecision,
    TechInsight,
    Fact,
    Generic,
)
_BY_NAME: Final = {kind.__name__: kind for kind in KINDS}
