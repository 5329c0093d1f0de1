"""What it takes to be trusted: thirty promises, the tests that hold each, and mutants of the code that they have to notice."""
