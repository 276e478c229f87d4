"""Fields of the entries in memory, to turn a filter into a mask of positions without asking the database.

A column is made when a filter first asks for its field, from all entries, and then follows the changes. It holds a
number for each entry, which stands for the value: a comparison is decided once for each distinct value.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from ..field_paths import MISSING, FieldPath
from ..filters import And, Comparison, Filter, Not, Or
from ..operators import identity
from .source import FieldRow

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    from .resident import Mask

#: Columns kept at most; the one not used for longest goes.
MOST_COLUMNS: Final = 16

#: Distinct values of a column; a field with more is left to the database.
MOST_VALUES: Final = 100_000

_RANGES: Final = ("gt", "gte", "lt", "lte")
_EXACT_INTEGERS: Final = 2**53


class Column:
    """The values of one field by position."""

    def __init__(self, path: FieldPath) -> None:
        import numpy

        self.path = path
        self._numbers: dict[Any, int] = {}
        self._values: list[Any] = []
        self._codes: NDArray[numpy.int32] = numpy.zeros(64, dtype=numpy.int32)
        self._count = 0
        self._floats: NDArray[numpy.float64] | None = None
        self._exact = True

    def append(self, row: FieldRow | None) -> None:
        """The field of the next position; None for one that is no longer there."""
        self.append_value(MISSING if row is None else self.path.read(row))

    def append_value(self, value: Any) -> None:
        """The same, already read."""
        import numpy

        key = identity(value)
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._values)
            self._values.append(value)
            self._floats = None
            if value.__class__ is int and abs(value) > _EXACT_INTEGERS:
                self._exact = False
        if self._count == len(self._codes):
            self._codes = numpy.resize(self._codes, 2 * self._count)
        self._codes[self._count] = number
        self._count += 1

    @property
    def too_large(self) -> bool:
        """Whether it has more distinct values than are worth keeping."""
        return len(self._values) > MOST_VALUES

    def holds(self, comparison: Comparison) -> Mask:
        """Where the comparison holds."""
        import numpy

        operand, codes = comparison.operand, self._codes[: self._count]
        if comparison.operator == "eq":
            held: Mask = codes == self._numbers.get(identity(operand), -1)
            return held
        exact = operand.__class__ is float or (operand.__class__ is int and abs(operand) <= _EXACT_INTEGERS)
        if comparison.operator in _RANGES and self._exact and exact:
            return self._compare(comparison.operator, float(operand)).take(codes)
        found = [
            comparison.operator == "exists" and not operand if value is MISSING else comparison._test(value)
            for value in self._values
        ]
        decided: Mask = numpy.array(found, dtype=bool)
        return decided.take(codes)

    def _compare(self, operator: str, operand: float) -> Mask:
        import numpy

        if self._floats is None:
            numbers = [value if value.__class__ in (int, float) else numpy.nan for value in self._values]
            self._floats = numpy.array(numbers, dtype=numpy.float64)
        compare = {"gt": numpy.greater, "gte": numpy.greater_equal, "lt": numpy.less, "lte": numpy.less_equal}
        found: Mask = compare[operator](self._floats, operand)
        return found


class Columns:
    """The columns that filters have asked for."""

    def __init__(self) -> None:
        self._columns: dict[FieldPath, Column] = {}
        self._too_large: set[FieldPath] = set()

    def __bool__(self) -> bool:
        return bool(self._columns)

    def missing(self, condition: Filter) -> list[FieldPath]:
        """The fields of a filter that have no column yet; those that have become the newest."""
        wanted = dict.fromkeys(paths_of(condition))
        for path in wanted:
            if path in self._columns:
                self._columns[path] = self._columns.pop(path)
        return [path for path in wanted if path not in self._columns]

    def can_hold(self, paths: Iterable[FieldPath]) -> bool:
        """Whether none of the fields was found to have too many values."""
        return self._too_large.isdisjoint(paths)

    def make(self, paths: Sequence[FieldPath], count: int, rows: Iterable[tuple[int, FieldRow]]) -> bool:
        """Make columns for ``count`` positions from the rows of those that there are; False, and nothing made, if one
        would be too large.
        """
        values: list[list[Any]] = [[MISSING] * count for _ in paths]
        for at, row in rows:
            for held, path in zip(values, paths, strict=True):
                held[at] = path.read(row)
        made = [Column(path) for path in paths]
        for column, held in zip(made, values, strict=True):
            for value in held:
                column.append_value(value)
            if column.too_large:
                self._too_large.add(column.path)
                return False
        self._columns |= {column.path: column for column in made}
        while len(self._columns) > MOST_COLUMNS:
            del self._columns[next(iter(self._columns))]
        return True

    def append(self, row: FieldRow | None) -> None:
        """The fields of the next position."""
        for path, column in list(self._columns.items()):
            column.append(row)
            if column.too_large:
                self._too_large.add(path)
                del self._columns[path]

    def holds(self, condition: Filter) -> Mask | None:
        """Where the filter holds, or None if a column is missing."""
        if isinstance(condition, Comparison):
            column = self._columns.get(condition.path)
            return None if column is None else column.holds(condition)
        if isinstance(condition, Not):
            held = self.holds(condition.part)
            return None if held is None else ~held
        if isinstance(condition, And | Or) and condition.parts:
            found: Mask | None = None
            for part in condition.parts:
                held = self.holds(part)
                if held is None:
                    return None
                found = held if found is None else found & held if isinstance(condition, And) else found | held
            return found
        return None


def paths_of(condition: Filter) -> Iterable[FieldPath]:
    """The fields that a filter looks at."""
    if isinstance(condition, Comparison):
        yield condition.path
    elif isinstance(condition, Not):
        yield from paths_of(condition.part)
    elif isinstance(condition, And | Or):
        for part in condition.parts:
            yield from paths_of(part)
