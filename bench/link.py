"""A network link with delay and loss between a server and its clients on one machine.

It needs no kernel module such as netem. In a network namespace of its own a TUN device routes one address.
Each packet that is sent to it is written back with source and destination swapped, after a delay or, if it
is lost, never: so both ends of a connection are on this machine and everything between them crosses the link.
Swapping the addresses keeps every checksum valid, because a sum does not depend on the order of its terms.
"""

import ctypes
import fcntl
import os
import random
import select
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

_CLONE_NEWNET = 0x40000000
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 1, 0x1000
_DEVICE = "spillway0"
_NEAR, FAR = "198.18.0.1", "198.18.0.2"
"""Of the block that is kept for benchmarks (RFC 2544)."""
_LONGEST_PACKET = 1500


class Unavailable(Exception):
    """Raised where no such link can be made; its message is the reason."""


def _system(call: str, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, call)(*arguments):
        raise Unavailable(f"{call}: {os.strerror(ctypes.get_errno())}")


@contextmanager
def lossy_link(delay_ms: float, loss_percent: float) -> Iterator[str]:
    """Give this thread, and the processes it starts, another network for the length of the block.

    Yields an address. A connection to it reaches whatever listens here on all interfaces, over a link that
    delays each packet (of at most 1500 bytes) by `delay_ms` and drops some at random. The namespace has no
    name, so it is gone with the last process in it.

    Raises:
        Unavailable: root, /dev/net/tun or the command `ip` is missing.
    """
    thread = Path("/proc/thread-self").readlink().name
    before = os.open(f"/proc/self/task/{thread}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _system("unshare", _CLONE_NEWNET)
        try:
            device = _make_device()
            command = [sys.executable, "-m", "bench.link", str(delay_ms / 1000), str(loss_percent / 100)]
            root = Path(__file__).resolve().parent.parent
            carrier = subprocess.Popen(command, stdin=device, cwd=root)
            os.close(device)
            try:
                yield FAR
            finally:
                carrier.kill()
                carrier.wait()
        finally:
            _system("setns", before, _CLONE_NEWNET)
    finally:
        os.close(before)


def _make_device() -> int:
    try:
        device = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", _DEVICE.encode(), _IFF_TUN | _IFF_NO_PI))
        for arguments in (
            ["link", "set", "lo", "up"],
            ["addr", "add", _NEAR, "peer", FAR, "dev", _DEVICE],
            ["link", "set", "dev", _DEVICE, "mtu", str(_LONGEST_PACKET), "txqueuelen", "10000", "up"],
        ):
            subprocess.run(["ip", *arguments], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Unavailable(str(error)) from None
    return device


# --- what carries the packets, a process of its own -----------------------------------------------------


class _Packet(NamedTuple):
    due: float
    data: bytes


def _swapped(packet: bytes) -> bytes:
    """An IPv4 packet with source and destination swapped."""
    return packet[:12] + packet[16:20] + packet[12:16] + packet[20:]


def carry(device: int, delay_s: float, loss: float) -> None:
    """Send back each packet that enters the device, `delay_s` later; drops a share `loss`. Never returns."""
    os.set_blocking(device, False)
    dice = random.Random(0)  # noqa: S311 - the same losses each time
    under_way: deque[_Packet] = deque()
    while True:
        now = time.monotonic()
        while under_way and under_way[0].due <= now:
            os.write(device, under_way.popleft().data)
        select.select([device], [], [], max(0.0, under_way[0].due - now) if under_way else None)
        arrived = time.monotonic()
        for _ in range(64):
            try:
                packet = os.read(device, _LONGEST_PACKET)
            except BlockingIOError:
                break
            if packet[0] >> 4 == 4 and dice.random() >= loss:
                under_way.append(_Packet(arrived + delay_s, _swapped(packet)))


if __name__ == "__main__":
    carry(sys.stdin.fileno(), float(sys.argv[1]), float(sys.argv[2]))
