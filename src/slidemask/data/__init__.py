"""Cohorts, splits, samples, augmentation and phantom slides."""
