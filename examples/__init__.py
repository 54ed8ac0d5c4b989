"""Examples: runnable from the root of the repository, tested like everything else."""
