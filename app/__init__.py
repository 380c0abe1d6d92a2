"""Spillway: an image-upload service that sheds load instead of falling over."""

__version__ = "1.0.0"
