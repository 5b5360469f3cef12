"""One trainer for all detectors: train.py, test.py, optimiser, schedule, checkpoints, processes."""
