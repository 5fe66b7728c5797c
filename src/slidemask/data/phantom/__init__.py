"""Phantom slides: synthetic H&E-like slides of any size with exact ground truth.

Nothing here is a patient's tissue, and nothing trained or measured on it says how good a model is
on real slides. Phantoms prove that the machinery works: sizes, memory, resolutions, outlines.
"""
