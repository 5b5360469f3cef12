"""Named random streams: every random choice of the demo world belongs to a name, never to an order of calls."""

from __future__ import annotations

import hashlib

import numpy as np


def stream(*key: int | str) -> np.random.Generator:
    """Return the random generator that belongs to `key`, the same in any process and on any machine.

    Args:
        key: path of the choice, such as ``(seed, "demo/FF++", "person", 17)``.
    """
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    words = np.frombuffer(digest[:16], dtype="<u4")
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([int(w) for w in words])))
