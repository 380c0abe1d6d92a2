"""Fuzzing of the workers: intact samples, ways to damage them, and a judge of the outcomes."""
