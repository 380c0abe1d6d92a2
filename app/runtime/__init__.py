"""Plumbing of a process that knows nothing of the service: tasks, memory, logs, metrics, cgroups."""
