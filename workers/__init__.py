"""Image workers: warm child processes that decode, resize and encode one upload per confined fork.

Nothing here imports `app`. The parent speaks to `python -m workers` in the frames of `workers.messages`.
"""
