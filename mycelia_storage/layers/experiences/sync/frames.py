"""Frames: every message of the protocol as bytes.

======  =====  ==================================================
offset  bytes  what
======  =====  ==================================================
0       4      ``MYXP``
4       1      protocol version
5       1      operation; a reply has its request's with bit 7 set, an error is 255
6       4      length of the body, big-endian
10      4      CRC-32 of the body, big-endian
14             the body, a JSON object
======  =====  ==================================================

A frame is exactly that long: what is cut off or appended is refused.
"""

from __future__ import annotations

import struct
import zlib
from enum import IntEnum
from typing import Any, Final

import orjson

from .. import errors
from ..errors import InvalidPayload, PayloadTooLarge, ProtocolVersionMismatch, SyncError, TransportError

MAGIC: Final = b"MYXP"
PROTOCOL_VERSION: Final = 1
MAX_FRAME: Final = 64 * 2**20
LEAST_FRAME: Final = 2**20
_HEAD: Final = struct.Struct(">4sBBII")


class Operation(IntEnum):
    """What a message asks or answers."""

    HANDSHAKE = 1
    PUSH = 2
    PULL = 3

    @property
    def reply(self) -> int:
        """The operation of the answer."""
        return self | 0x80


ERROR: Final = 0xFF


def encode_frame(operation: int, body: dict[str, Any], most: int = MAX_FRAME) -> bytes:
    """A message as a frame. Raises PayloadTooLarge."""
    data = orjson.dumps(body)
    if len(data) + _HEAD.size > most:
        raise PayloadTooLarge(len(data) + _HEAD.size, most)
    return _HEAD.pack(MAGIC, PROTOCOL_VERSION, operation, len(data), zlib.crc32(data)) + data


def decode_frame(frame: bytes, operation: int, most: int = MAX_FRAME) -> dict[str, Any]:
    """The body of a frame of that operation.

    Raises ProtocolVersionMismatch, PayloadTooLarge, InvalidPayload, and the error that an error frame carries.
    """
    if len(frame) > most:
        raise PayloadTooLarge(len(frame), most)
    if len(frame) < 5 or frame[:4] != MAGIC:
        raise ProtocolVersionMismatch(PROTOCOL_VERSION, None)
    if frame[4] != PROTOCOL_VERSION:
        raise ProtocolVersionMismatch(PROTOCOL_VERSION, frame[4])
    if len(frame) < _HEAD.size:
        raise InvalidPayload("the frame is cut off")
    _, _, got, length, check = _HEAD.unpack_from(frame)
    data = frame[_HEAD.size :]
    if len(data) != length:
        raise InvalidPayload(f"the frame has a body of {len(data):,} bytes and says {length:,}")
    if zlib.crc32(data) != check:
        raise InvalidPayload("the frame is damaged")
    if got not in (operation, ERROR):
        raise InvalidPayload(f"the frame is of operation {got}, and {operation} was expected")
    try:
        body = orjson.loads(data)
    except ValueError as error:
        raise InvalidPayload("the body of the frame is no JSON") from error
    if not isinstance(body, dict):
        raise InvalidPayload("the body of the frame is no object")
    if got == ERROR:
        raise decode_error(body)
    return body


# -- errors over the wire --------------------------------------------------------------------------------------------

#: Errors that a peer is told, with the attributes that make them anew.
_TOLD: Final[dict[str, tuple[str, ...]]] = {
    "DimensionMismatch": ("expected", "got"),
    "EmbeddingProviderMismatch": ("expected", "got"),
    "CursorTooOld": ("since", "compacted"),
    "ProtocolVersionMismatch": ("expected", "got"),
    "PayloadTooLarge": ("size", "most"),
    "SchemaMismatch": (),
    "NotAuthorized": (),
    "HandshakeRefused": (),
    "InvalidPayload": (),
    "MissingDependency": (),
}


def encode_error(error: Exception) -> bytes:
    """An error as a frame; of one that is not the peer's affair it learns no more than that there was one."""
    name = type(error).__name__
    if name not in _TOLD:
        return encode_frame(ERROR, {"error": "", "message": "the peer failed"})
    arguments = [getattr(error, attribute) for attribute in _TOLD[name]]
    return encode_frame(ERROR, {"error": name, "message": str(error), "arguments": arguments})


def decode_error(body: dict[str, Any]) -> Exception:
    """The error of an error frame."""
    name, arguments = body.get("error"), body.get("arguments")
    message = str(body.get("message"))[:500]
    if name not in _TOLD:
        return TransportError(message)
    kind: type[Exception] = getattr(errors, name)
    if not _TOLD[name]:
        return kind(message)
    whole = isinstance(arguments, list) and all(
        argument is None or type(argument) in (int, str) for argument in arguments
    )
    if whole and isinstance(arguments, list) and len(arguments) == len(_TOLD[name]):
        return kind(*arguments)
    return SyncError(message)
