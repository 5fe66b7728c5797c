"""Composed photos: slide pictures laid into drawn scenes as a phone would see them.

The photos are synthetic, though the slide pictures in them may be real. Outlines are exact.
"""
