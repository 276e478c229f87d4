"""What of a namespace is no entry: its metadata, whether it tracks changes, and its indexes."""

from __future__ import annotations

from ..contract import NamespaceInfo, StorageBackend
from ..errors import InvalidInput, UniqueViolation
from ..indexes import Index
from .places import Place


def describe(info: NamespaceInfo, destination: StorageBackend, place: Place) -> str | None:
    """Give the destination's namespace the metadata and tracking of ``info``; what still differs, in words.

    Empty metadata of the source replaces only metadata that the copy itself brought.
    """
    metadata = info.metadata if info.metadata or place.metadata else None
    held = destination.get_namespace(info.name)
    same = held is not None and metadata in (None, held.metadata) and held.track_changes >= info.track_changes
    if not same:
        destination.create_namespace(info.name, metadata=metadata, exist_ok=True, track_changes=info.track_changes)
        held = destination.get_namespace(info.name)
    place.metadata = place.metadata or bool(info.metadata)
    if held is None or (metadata is not None and held.metadata != metadata):
        return "another metadata"
    if info.track_changes and not held.track_changes:
        return "does not track changes"
    return None


def copy_indexes(wanted: dict[str, Index], destination: StorageBackend, place: Place) -> dict[str, str | None]:
    """Make the ``wanted`` indexes of a namespace that are missing, drop those the copy made that are not wanted.

    The result has for each what is in its way, or None.
    """
    name = place.namespace
    held = destination.list_indexes(name)
    problems: dict[str, str | None] = {}
    for index in list(place.indexes):
        if wanted.get(index) != held.get(index):
            destination.drop_index(name, index)
            held.pop(index, None)
            place.indexes.remove(index)
            problems[index] = None
    for index, declaration in wanted.items():
        problems[index] = None
        if held.get(index) == declaration:
            continue
        try:
            destination.create_index(name, declaration, name=index)  # alone: it may take longer than a transaction
            place.indexes.append(index)
        except (UniqueViolation, InvalidInput) as error:
            problems[index] = f"index {index!r}: {error}"
    return problems
