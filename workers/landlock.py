"""Landlock (landlock(7)) by its three system calls: a process gives up every file but those it names.

No binding on PyPI has a stable release, and the interface is three calls that the kernel keeps stable.
"""

import ctypes
import os
from collections.abc import Iterable

# The numbers of the system calls are the same on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG = 1
_RULE_PATH_BENEATH = 1

WRITE_FILE = 1 << 1
READ_FILE = 1 << 2
TRUNCATE = 1 << 14

# The number of file rights that each ABI version knows. A right that is handled and not granted is refused.
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
_FILE_RIGHTS_NEWEST = 16
_TCP_BIND_AND_CONNECT = 0b11
_ABSTRACT_SOCKETS_AND_SIGNALS = 0b11


class _RulesetAttr(ctypes.Structure):
    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class _PathBeneathAttr(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


_libc = ctypes.CDLL(None, use_errno=True)
_call_syscall = _libc.syscall  # looked up once, and not again in each fork


def abi_version() -> int:
    """The ABI version of Landlock in this kernel, at least 1; raises OSError where there is none."""
    return _call(_CREATE_RULESET, None, 0, _VERSION_FLAG)


def restrict(rules: Iterable[tuple[str, int]]) -> int:
    """Confine this thread and its children to `rules` (path, rights); the ABI version. Raises OSError.

    The process must have set no_new_privs. Where the kernel can (ABI 4 and 6), it also loses TCP, abstract
    UNIX sockets, and signals to processes outside.
    """
    version = abi_version()
    handled = (1 << _FILE_RIGHTS.get(version, _FILE_RIGHTS_NEWEST)) - 1
    attr = _RulesetAttr(handled, _TCP_BIND_AND_CONNECT, _ABSTRACT_SOCKETS_AND_SIGNALS)
    # An older kernel refuses a structure longer than the one it knows.
    size = 8 if version < 4 else 16 if version < 6 else 24
    ruleset = _call(_CREATE_RULESET, ctypes.byref(attr), size, 0)
    try:
        for path, rights in rules:
            _allow(ruleset, path, rights & handled)
        _call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return version


def _allow(ruleset: int, path: str, rights: int) -> None:
    beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        attr = _PathBeneathAttr(rights, beneath)
        _call(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, ctypes.byref(attr), 0)
    finally:
        os.close(beneath)


def _call(number: int, *arguments: object) -> int:
    widened = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    result = int(_call_syscall(ctypes.c_long(number), *widened))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result
