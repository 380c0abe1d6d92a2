"""How hypothesis looks for counterexamples here: the same ones each time, and as long as they take."""

from hypothesis import settings

examples = settings(max_examples=50, deadline=None, derandomize=True, database=None)
