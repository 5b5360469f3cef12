"""Dataset layouts: one file each, found by the ``LAYOUTS`` registry. The contract is in ``base.py``."""
