"""A discrete-event simulation of a queue, its workers and a crowd of clients."""
