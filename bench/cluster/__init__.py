"""A cluster on this machine: killed under load, or measured."""
