"""The contract as tests. A backend of your own inherits them::

    class TestMine(StorageContract):
        @pytest.fixture
        def open_storage(self, tmp_path):
            return lambda **options: MyBackend(path=tmp_path / uuid4().hex, **options)

``open_storage`` gives a function that opens a new, empty storage with the options of the contract: busy_timeout (ms),
transaction_timeout, sweep_interval (s), change_retention (changes), change_retention_age (s). Needs pytest.
"""

import pytest

_SUBJECTS = (
    "entries",
    "values",
    "expiry",
    "batches",
    "ranges",
    "following",
    "filters",
    "metadata",
    "namespaces",
    "transactions",
    "concurrency",
    "indexes",
    "texts",
    "vectors",
    "changes",
    "care",
)
pytest.register_assert_rewrite(*(f"{__name__}.{subject}" for subject in _SUBJECTS))

from .batches import BatchContract  # noqa: E402
from .care import CareContract  # noqa: E402
from .changes import ChangeContract  # noqa: E402
from .concurrency import ConcurrencyContract  # noqa: E402
from .entries import EntryContract  # noqa: E402
from .expiry import ExpiryContract  # noqa: E402
from .filters import FilterContract  # noqa: E402
from .fixtures import OpenStorage  # noqa: E402
from .following import FollowingContract  # noqa: E402
from .indexes import IndexContract  # noqa: E402
from .metadata import MetadataContract  # noqa: E402
from .namespaces import NamespaceContract  # noqa: E402
from .ranges import RangeContract  # noqa: E402
from .texts import TextContract  # noqa: E402
from .transactions import TransactionContract  # noqa: E402
from .values import ValueContract  # noqa: E402
from .vectors import VectorContract  # noqa: E402


class StorageContract(
    EntryContract,
    ValueContract,
    ExpiryContract,
    BatchContract,
    RangeContract,
    FollowingContract,
    FilterContract,
    MetadataContract,
    NamespaceContract,
    TransactionContract,
    ConcurrencyContract,
    IndexContract,
    TextContract,
    VectorContract,
    ChangeContract,
    CareContract,
):
    """The whole contract."""


__all__ = [
    "BatchContract",
    "ChangeContract",
    "EntryContract",
    "OpenStorage",
    "StorageContract",
    "TransactionContract",
    "VectorContract",
]
