"""Indexes, stores, datasets, sampling and augmentation."""
