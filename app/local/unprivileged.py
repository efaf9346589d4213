"""How a server starts that refuses to run as root, or as a user without a name (Postgres refuses both).

Best way: a user namespace in which we are called "nobody". No user is made, no file changes its owner, and it
works under a home of mode 0700. Where namespaces are forbidden (many containers), root gives the directory to
the real `nobody` and becomes it. Knows Linux system calls; does not know which server.
"""

from __future__ import annotations

import ctypes
import os
import pwd
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

NOBODY = 65534  # the kernel's own overflow id: "nobody" on every Linux
CLONE_NEWUSER = 0x10000000
PR_SET_DUMPABLE = 4

Become = Callable[[], None]

_libc = ctypes.CDLL(None, use_errno=True)


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def become_mapped_nobody() -> None:
    """In a fresh single-threaded child: go on owning our files, but let every program see us as `nobody`."""
    # Read here: inside, before the maps are written, both are the overflow id.
    user, group = os.geteuid(), os.getegid()
    if _libc.unshare(CLONE_NEWUSER) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"unshare: {os.strerror(code)}")
    _write("/proc/self/setgroups", "deny")  # the kernel wants this before it takes a gid map
    _write("/proc/self/uid_map", f"{NOBODY} {user} 1")
    _write("/proc/self/gid_map", f"{NOBODY} {group} 1")


def become_user(uid: int, gid: int) -> None:
    """In a child of root: be that user from here on, by the name `nobody` if it has none."""
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if not _has_name(uid):
        _libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # setuid made our own /proc files root's
        become_mapped_nobody()


def _has_name(uid: int) -> bool:
    try:
        return bool(pwd.getpwuid(uid).pw_name)
    except KeyError:  # `docker run --user 1001`, OpenShift
        return False


@cache
def namespaces_work() -> bool:
    """Whether we may make user namespaces here (tried in a child, as half of a try cannot be undone)."""
    if not hasattr(_libc, "unshare"):
        return False
    child = os.fork()
    if child == 0:
        try:
            become_mapped_nobody()
            os._exit(0)
        except BaseException:  # noqa: BLE001 - a forked child must end here, whatever it is
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def identity_for(home: Path) -> Become | None:
    """What a child must do before it starts a server over `home`; None if it may stay who it is.

    `home` exists. It keeps the owner it has: a directory that a plain user or the real `nobody` owns is
    served as that user; only a directory of root's gets a new owner, and only where namespaces are forbidden.
    """
    if os.geteuid() != 0:
        return None if _has_name(os.geteuid()) or not namespaces_work() else become_mapped_nobody
    owner = home.stat()
    if owner.st_uid != 0:
        return partial(become_user, owner.st_uid, owner.st_gid)
    if namespaces_work():
        return become_mapped_nobody
    _hand_to_nobody(home)
    return partial(become_user, NOBODY, NOBODY)


def _hand_to_nobody(home: Path) -> None:
    for folder, folders, files in os.walk(home):
        for name in (*folders, *files):
            os.chown(Path(folder, name), NOBODY, NOBODY, follow_symlinks=False)
    home.parent.chmod(home.parent.stat().st_mode | 0o011)  # `nobody` must reach its directory through ours
    os.chown(home, NOBODY, NOBODY)  # last: a kill before this line makes the next start repeat it all
