"""Tell other processes, and others in this one, that a file is being written: a lock that ends with its holder."""

from __future__ import annotations

import errno
import sys
from io import FileIO

if sys.platform == "win32":
    import msvcrt

    # Windows lets nobody read what is locked, so it is a byte far behind the end: the last that its C library takes.
    _FAR = 2**31 - 2

    def lock(file: FileIO) -> bool:
        """Return whether the file is now locked by this opening of it, rather than by another one."""
        return _locking(file, msvcrt.LK_NBLCK)

    def unlock(file: FileIO) -> None:
        """Let others lock it."""
        _locking(file, msvcrt.LK_UNLCK)

    def _locking(file: FileIO, mode: int) -> bool:
        place = file.tell()
        try:
            file.seek(_FAR)
            msvcrt.locking(file.fileno(), mode, 1)
        except OSError:
            return False
        finally:
            file.seek(place)
        return True

else:
    import fcntl

    _NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)

    def lock(file: FileIO) -> bool:
        """Return whether the file is now locked by this opening of it, rather than by another one.

        Also where its file system knows no locks: then nobody is kept off.
        """
        try:
            # Not `lockf`: its lock ends when the same process closes the file after reading it.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                return False
            if error.errno not in _NO_LOCKS:
                raise
        return True

    def unlock(file: FileIO) -> None:
        """Let others lock it, also while a forked process, such as one that loads data, has it open still."""
        try:
            fcntl.flock(file, fcntl.LOCK_UN)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
