"""Benches of Spillway: `python -m bench` runs them, `python -m bench.NAME` one.

Load goes to the loopback alone, and is bounded in number and time.
"""
