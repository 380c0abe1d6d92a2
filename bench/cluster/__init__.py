"""Spillway on many machines, all of them this one: what is started for it, killed and measured."""
