"""Attack a server of its own in the ways that a stranger could, while an honest client uploads photos.

The attacks run one after the other, each for some seconds in a process of its own, and followed by a pause
until the server has closed all connections of it. Slow heads, bodies and readers come from slowhttptest (a
Debian package), where it is installed. Everything stays on the loopback interface.
"""
