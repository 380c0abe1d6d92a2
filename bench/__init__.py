"""Benches of Spillway: `python -m bench` runs all of them, `python -m bench.NAME` one.

They send load to the loopback interface only, and each is bounded in number and time.
"""
