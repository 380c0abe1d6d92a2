"""Servers that the benches compare Spillway with; each prints its address once it listens."""
