"""The documentation site: pages of the repository and references made of the code, built by Zensical."""
