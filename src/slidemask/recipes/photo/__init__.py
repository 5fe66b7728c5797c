"""Slides in camera pictures: found, cut out and straightened."""
