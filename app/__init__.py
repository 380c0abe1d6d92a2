"""Spillway: an image-upload service that sheds load instead of falling over."""

__version__ = "0.1.0"
