"""Whole methods as short programs over the rooms below, with their TOML files."""
