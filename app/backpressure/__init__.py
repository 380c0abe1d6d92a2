"""Backpressure in plain Python: how a service stays alive when more is asked of it than it can do.

Everything here uses the standard library alone, does no I/O, and takes its clock as a parameter. Every table
that a client's input could fill is bounded. Each module answers one question; to read them in this order is
to follow an upload from its first byte to a worker:

1.  `token_bucket`          How much may one client ask for? A token bucket and a leaky bucket in one integer.
2.  `rate_limiter`          How are millions of clients limited in bounded memory? One bucket per client.
3.  `circuit_breaker`       What if a dependency fails? It is not called for a while, then probed carefully.
4.  `ranking`               How many are before me? A sorted list of places finds that in O(log n).
5.  `fair_queue`            Who is next? Round robin over clients: nobody waits behind one with many jobs.
6.  `drain_rate`            How fast does the queue drain? Measured from how long jobs and uploads take.
7.  `upload_queue`          How many uploads may come in and wait? Receiving slots and a bounded queue.
8.  `reservation_table`     Who was told to come back, when, and how many of those will really come?
9.  `reservation_calendar`  In which second is there room for one more? A tree of counts knows.
10. `reservations`          When should a refused client come back? At the moment when a slot is free for it.
11. `waiting_room`          What if no slot is free in that very second? The client waits for it a moment.
12. `brownout`              What can be left for later under pressure? All but the most needed variant.
"""
