"""A lock on the folder of a run, so that no two processes train it at once.

The operating system keeps it and drops it when the process ends, however that happens; nothing is
written. Windows and some network file systems have no such lock: there nothing is checked.
"""

from __future__ import annotations

import os
import weakref
from pathlib import Path


class FolderLock:
    """Holds the folder of a run until it is released or the process ends.

    Raises:
        ValueError: another process holds it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._descriptor: int | None = None
        if os.name != "posix":
            return
        import fcntl

        self._descriptor = os.open(folder, os.O_RDONLY)
        _held.add(self)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            raise ValueError(
                f"{str(folder)!r} is being trained by another process; wait for its end or stop it"
            ) from None
        except OSError:  # a file system without such locks
            self.release()

    @property
    def is_lost(self) -> bool:
        """True if the folder is no longer where it was: whatever is there now is not ours."""
        if self._descriptor is None:
            return False
        try:
            return not os.path.samestat(os.fstat(self._descriptor), self._folder.stat())
        except OSError:  # gone, or no longer to be reached
            return True

    def release(self) -> None:
        """Let others have the folder; further calls do nothing."""
        _held.discard(self)
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def _release_all() -> None:
    for lock in list(_held):
        lock.release()


_held: weakref.WeakSet[FolderLock] = weakref.WeakSet()
if os.name == "posix":
    # A worker process that outlives a killed training for some seconds must not hold the lock.
    os.register_at_fork(after_in_child=_release_all)
