"""Plumbing of a process that knows nothing of the service: background tasks, memory, logs, metrics, cgroups."""
