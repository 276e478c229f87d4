"""A backup as a dump (:mod:`mycelia_storage.dumps`), which ``mycelia-storage load`` reads into any backend."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from ..contract import Transaction
from ..dumps import dump_lines
from ..errors import InvalidInput, StorageError, StorageFull

_ENTRY_LINE = b'{"kind":"entry"'
_NO_SPACE = 28  # ENOSPC


def write_dump(
    snapshot: Transaction, path: str | Path, overwrite: bool, progress: Callable[[int, int], None] | None
) -> None:
    """Write all of a snapshot to ``path``, mode 0600. Raises InvalidInput (it exists), StorageFull, StorageError."""
    target = Path(path)
    file_path = target.with_name(f"{target.name}.{snapshot.id}.partial") if overwrite else target
    try:
        file = os.fdopen(os.open(file_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
    except FileExistsError:
        raise InvalidInput(f"{str(target)!r} exists; overwrite=True replaces it") from None
    except OSError as error:
        raise StorageError(f"the backup to {str(target)!r} failed: {error}") from error
    try:
        with file:
            _write_lines(snapshot, file, progress)
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            file_path.replace(target)
    except BaseException as error:
        file_path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            kind = StorageFull if error.errno == _NO_SPACE else StorageError
            raise kind(f"the backup to {str(target)!r} failed: {error}") from error
        raise


def _write_lines(snapshot: Transaction, file: BinaryIO, progress: Callable[[int, int], None] | None) -> None:
    total, done = snapshot.get_status().entries, 0
    for line in dump_lines(snapshot):
        file.write(line)
        if line.startswith(_ENTRY_LINE):
            done += 1
            if progress is not None and done % 1_000 == 0:
                progress(done, total)
    if progress is not None:
        progress(done, total)
