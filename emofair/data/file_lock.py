"""One process at a time: a lock on a file, for what several processes would otherwise build at once."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from emofair.errors import EmofairError


@contextlib.contextmanager
def locked(path: str | os.PathLike[str], *, essential: bool = False) -> Iterator[None]:
    """Hold the lock file ``path``, which is made when it is missing; wait until nobody else does.

    The system lets go of it when a process dies. Where locks do not work nothing is held: all do the same work, or with
    ``essential`` (they would spoil each other's) an EmofairError is raised.
    """
    with open(path, "w") as file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        except (ImportError, OSError) as error:
            if essential:
                raise EmofairError(
                    f"files cannot be locked here ({error})", file=path, remedy="Give a folder on another file system"
                ) from None
        yield
