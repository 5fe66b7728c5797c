"""Errors, types, settings, atomic files, progress: what every other room may use."""
