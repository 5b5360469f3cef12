"""Methods: a loss to train with and a score to predict with, on top of a backbone; one file each."""
