"""What is nobody's paper: backends of operators, checkpoints, shapes, precision, threads, errors."""
