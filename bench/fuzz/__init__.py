"""Damaged images: samples, the ways to damage them, and what may come of it."""
