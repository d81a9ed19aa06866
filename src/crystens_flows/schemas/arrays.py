"""Arrays as compressed binary, for the additional store of a JobStore."""

from __future__ import annotations

import base64
import math
import zlib
from typing import Any

import numpy as np
from monty.json import MSONable

from crystens_flows.errors import InputError

MAX_BYTES = 2**30
"""Of an array; a chunk of 1000 CrysTens has a sixteenth."""


class ArrayBlob(MSONable):
    """
    A numpy array that serialises to one compressed string instead of a list of numbers.

    Jobs that return it are declared ``@job(data=ArrayBlob)``, so that it travels to the
    additional store and never into the document itself.

    Parameters
    ----------
    array
        The array, of any shape; of numbers, byte strings, or fields of these.
    """

    def __init__(self, array: np.ndarray) -> None:
        self.array = np.ascontiguousarray(array)

    def as_dict(self) -> dict[str, Any]:
        """Return the array as shape, type and base64 text of its zlib-compressed bytes."""
        return {
            "@module": type(self).__module__,
            "@class": type(self).__name__,
            "shape": list(self.array.shape),
            "dtype": self._dtype(),
            "zlib_base64": base64.b64encode(zlib.compress(self.array.tobytes(), 6)).decode(),
        }

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> ArrayBlob:
        """Restore the array from :meth:`as_dict`; what is no such array is refused unread."""
        dtype = d["dtype"]
        if not isinstance(dtype, str):
            dtype = [(name, *rest) for name, *rest in dtype]
        dtype = np.dtype(dtype)
        size = math.prod(d["shape"]) * dtype.itemsize
        if dtype.hasobject or not 0 <= size <= MAX_BYTES:
            raise InputError(f"an array of type {dtype} and shape {d['shape']} is not read")
        # no more than it says, however far it would unpack
        unpacking = zlib.decompressobj()
        raw = unpacking.decompress(base64.b64decode(d["zlib_base64"]), size + 1)
        if len(raw) != size or not unpacking.eof:
            raise InputError(f"an array of shape {d['shape']} has not the bytes that it says")
        return cls(np.frombuffer(raw, dtype=dtype).reshape(d["shape"]).copy())

    def _dtype(self) -> Any:
        dtype = self.array.dtype
        return dtype.str if dtype.names is None else [[*each] for each in dtype.descr]

    def __eq__(self, other: object) -> bool:
        """Compare type, shape and values."""
        return (
            isinstance(other, ArrayBlob)
            and self.array.dtype == other.array.dtype
            and np.array_equal(self.array, other.array)
        )

    __hash__ = None  # type: ignore[assignment]
