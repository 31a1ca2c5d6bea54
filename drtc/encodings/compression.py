"""The four compressions of Kafka's record batches, undone with a limit."""
from __future__ import annotations

import zlib
from importlib import import_module

from ..batch import Payload

#: most bytes that one record batch may unpack to; beyond it the batch is taken for a decompression bomb
LIMIT = 256 * 1024 * 1024

_PIECE = 1024 * 1024
_XERIAL = b"\x82SNAPPY\x00"
_PACKAGES = ("crc32c", "lz4.frame", "snappy", "zstandard")


class Undecompressable(Exception):
    """Bytes that are not what their header says, or too many of them."""


def require() -> None:
    """Makes sure at start that any record batch can be read, whatever its producer chooses tomorrow.

    Raises:
        SourceError: a package is missing; the sentence says what to install.
    """
    missing = []
    for package in _PACKAGES:
        try:
            import_module(package)
        except ImportError:
            missing.append(package.partition(".")[0])
    if missing:
        from ..errors import SourceError

        raise SourceError(f"reading Kafka's record batches needs {', '.join(missing)}: pip install 'drtc[kafka]'")


def decompress(codec: int, packed: Payload) -> bytes:
    """What ``packed`` was before compression; ``codec`` is the number in a record batch's attributes.

    Raises:
        Undecompressable: not of that compression, cut short, larger than LIMIT, or a codec that Kafka has not got.
        ImportError: the compression's package is missing (see ``require``).
    """
    if codec == 1:
        name, undo = "gzip", _gzip
    elif codec == 2:
        import_module("snappy")
        name, undo = "snappy", _snappy
    elif codec == 3:
        import_module("lz4.frame")
        name, undo = "lz4", _lz4
    elif codec == 4:
        import_module("zstandard")
        name, undo = "zstd", _zstd
    else:
        raise Undecompressable(f"compression {codec} is not known")
    try:
        return undo(packed)
    except Undecompressable:
        raise
    except Exception as error:  # each library has exceptions of its own, without a common base
        raise Undecompressable(f"is not {name}: {str(error) or type(error).__name__}") from error


def _gzip(packed: Payload) -> bytes:
    pieces, size, rest = [], 0, bytes(packed)
    while rest:
        member = zlib.decompressobj(31)
        pieces.append(member.decompress(rest, LIMIT - size + 1))
        size += len(pieces[-1])
        _check(size, member.eof)
        rest = member.unused_data
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _snappy(packed: Payload) -> bytes:
    """Raw, or in the blocks of the Java client: a head of 16 bytes, then each block with its length before it."""
    import snappy

    raw = bytes(packed)
    if not raw.startswith(_XERIAL):
        _check(_snappy_size(raw), True)
        return bytes(snappy.decompress(raw))
    pieces, size, at = [], 0, 16
    while at < len(raw):
        end = at + 4 + int.from_bytes(raw[at:at + 4], "big")
        block = raw[at + 4:end]
        size += _snappy_size(block)
        _check(size, end <= len(raw))
        pieces.append(bytes(snappy.decompress(block)))
        at = end
    return b"".join(pieces)


def _snappy_size(block: bytes) -> int:
    """The length that a snappy block says it unpacks to: a varint at its head."""
    size = 0
    for shift, byte in zip(range(0, 35, 7), block):
        size |= (byte & 127) << shift
        if byte < 128:
            return size
    raise Undecompressable("is not snappy: no length at its head")


def _lz4(packed: Payload) -> bytes:
    from lz4.frame import LZ4FrameDecompressor

    pieces, size, rest = [], 0, bytes(packed)
    while rest:
        frame = LZ4FrameDecompressor()
        while not frame.eof:
            piece = frame.decompress(rest, _PIECE)
            size += len(piece)
            _check(size, bool(piece) or frame.eof)
            pieces.append(piece)
            rest = frame.unused_data or b""
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _zstd(packed: Payload) -> bytes:
    """Producers that compress as they go write no length, so it is read in pieces."""
    from zstandard import ZstdDecompressor

    pieces, size = [], 0
    with ZstdDecompressor().stream_reader(bytes(packed), read_across_frames=True) as reader:
        while piece := reader.read(_PIECE):
            size += len(piece)
            _check(size, True)
            pieces.append(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _check(size: int, whole: bool) -> None:
    if size > LIMIT:
        raise Undecompressable(f"unpacks to more than {LIMIT} bytes")
    if not whole:
        raise Undecompressable("is cut short")
