"""Slides and annotations in; label images, mask pyramids and polygons out."""
