"""A queue, its workers and a crowd of clients, in simulated time."""
