"""What maintainers run by `make`: checks of a release, and of the machine."""
