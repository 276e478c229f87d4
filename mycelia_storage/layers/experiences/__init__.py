"""Experiences: what agents have learned, shared through collectives, on any storage.

>>> from mycelia_storage import MemoryStorageBackend
>>> from mycelia_storage.layers.experiences import ExperienceStore, NewExperience
>>> store = ExperienceStore(MemoryStorageBackend(), dimension=3)
>>> team = store.create_collective("team")
>>> lesson = store.record(NewExperience(team, "Quote the path.", [1.0, 0.0, 0.0], importance=0.8))
>>> [(found.content, similarity) for found, similarity in store.search_similar(team, [1.0, 0.0, 0.0], 5)]
[('Quote the path.', 1.0)]

Start with :mod:`.layout` (where everything lies), then :mod:`.entities`, :mod:`.turns` (how it is written) and
:mod:`.rows`. The parts of the store build on one another: :mod:`.core`, :mod:`.collectives`, :mod:`.experiences`,
:mod:`.relations`, :mod:`.insights`, :mod:`.activities`, :mod:`.search`, :mod:`.context`, :mod:`.change_log`,
:mod:`.watching`, :mod:`.lines`, :mod:`.store`. :mod:`.sync` lets two stores exchange what they hold.
"""

from __future__ import annotations

from .context import ContextCandidates, ContextRequest
from .decay_settings import CollectiveDecay, DecayConfig, RecallWeights
from .entities import (
    Activity,
    Collective,
    CollectiveStats,
    Experience,
    ExperienceUpdate,
    Insight,
    LogRecord,
    NewExperience,
    Relation,
    StoreMetadata,
    SyncCursor,
)
from .errors import *  # noqa: F403
from .kinds import (
    ArchitecturalDecision,
    Difficulty,
    Direction,
    Entity,
    ErrorPattern,
    Event,
    ExperienceType,
    Fact,
    Generic,
    InsightType,
    RelationType,
    Severity,
    Solution,
    SuccessPattern,
    TechInsight,
    UserPreference,
)
from .search import Found, SearchFilter, SearchOptions
from .store import ExperienceStore
from .watching import Gap, Subscription, WatchEvent, WatchFilter

__all__ = [
    "Activity",
    "ArchitecturalDecision",
    "Collective",
    "CollectiveDecay",
    "CollectiveStats",
    "ContextCandidates",
    "ContextRequest",
    "DecayConfig",
    "Difficulty",
    "Direction",
    "Entity",
    "ErrorPattern",
    "Event",
    "Experience",
    "ExperienceStore",
    "ExperienceType",
    "ExperienceUpdate",
    "Fact",
    "Found",
    "Gap",
    "Generic",
    "Insight",
    "InsightType",
    "LogRecord",
    "NewExperience",
    "RecallWeights",
    "Relation",
    "RelationType",
    "SearchFilter",
    "SearchOptions",
    "Severity",
    "Solution",
    "StoreMetadata",
    "Subscription",
    "SuccessPattern",
    "SyncCursor",
    "TechInsight",
    "UserPreference",
    "WatchEvent",
    "WatchFilter",
]
