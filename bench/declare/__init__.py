"""What does a suite file say?

`reader.load_suite` reads a file into a `Suite` at one profile, `reader.check_suite` at all of them; `params.build` makes the
component that a name and its parameters stand for. Every error is one sentence with file and line.
"""
