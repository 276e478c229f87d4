"""How a facet's methods read their arguments: keywords, or the original's trailing dict of options.

``set("k", 1, {"namespace": "users", "ifVersion": 3})``, ``set("k", 1, options={...})`` and
``set("k", 1, namespace="users", if_version=3)`` are the same call. A keyword wins over the dict. A name that the
method does not know raises TypeError, as it does for any function.

Every method also takes the option ``transaction`` (or ``transactionId``): the id of an open transaction, or the
result that ``begin_transaction`` gave.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Coroutine, Mapping
from functools import wraps
from typing import Any

from ..errors import StorageError
from .results import Result

_HUMP = re.compile(r"(?<=[a-z0-9])([A-Z])")

Method = Callable[..., Coroutine[Any, Any, Result]]


def snake_case(name: str) -> str:
    """``ifVersion`` -> ``if_version``."""
    return _HUMP.sub(lambda hump: "_" + hump[1].lower(), name)


def facet_method(method: Method) -> Method:
    """Lets ``method(self, target, ...)`` be called with options in any form, and turns StorageError into a result.

    ``target`` is the storage, or the transaction that the options name.
    """
    signature = inspect.signature(method)
    own = list(signature.parameters.values())
    positional = [p for p in own[2:] if p.kind is p.POSITIONAL_OR_KEYWORD]
    known = {p.name for p in own[2:]}

    @wraps(method)
    async def call(self: Any, /, *args: Any, options: Mapping[str, Any] | None = None, **kwargs: Any) -> Result:
        given, options = _split(method.__name__, args, options, len(positional))
        named = {} if options is None else {snake_case(name): value for name, value in options.items()}
        named.update((snake_case(name), value) for name, value in kwargs.items())
        ids = [named.pop(name) for name in ("transaction", "transaction_id") if name in named and name not in known]
        transaction = next((id for id in ids if id is not None), None)
        unknown = named.keys() - known
        if unknown:
            raise TypeError(f"{method.__name__}() has no option {', '.join(map(repr, sorted(unknown)))}")
        try:
            return await method(self, self._target(transaction), *given, **named)
        except StorageError as error:
            return Result(error=error)

    call.__signature__ = _shown(signature, positional)  # type: ignore[attr-defined]
    return call


def _split(
    name: str, args: tuple[Any, ...], options: Mapping[str, Any] | None, places: int
) -> tuple[tuple[Any, ...], Mapping[str, Any] | None]:
    """The arguments proper, and the options from wherever they were given."""
    if len(args) == places + 1 and options is None and (args[-1] is None or isinstance(args[-1], Mapping)):
        return args[:-1], args[-1]
    # list({"namespace": "users"}): no pattern is a mapping, so these are the options.
    if name == "list" and options is None and len(args) == 1 and isinstance(args[0], Mapping):
        return (), args[0]
    if len(args) > places:
        raise TypeError(f"{name}() takes {places} arguments and a mapping of options, {len(args)} were given")
    return args, options


def _shown(signature: inspect.Signature, positional: list[inspect.Parameter]) -> inspect.Signature:
    own = list(signature.parameters.values())
    optional = inspect.Parameter("options", inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None)
    keywords = [p for p in own[2:] if p not in positional]
    transaction = inspect.Parameter("transaction", inspect.Parameter.KEYWORD_ONLY, default=None)
    return signature.replace(parameters=[own[0], *positional, optional, *keywords, transaction])
