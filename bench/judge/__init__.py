"""What do the numbers say?

`results.collect` looks a suite's records up, `claims.judge` gives every claim its verdict, `checks` are what a gate counts,
`stats` and `spread` how far a number is known. Reads records; runs nothing.
"""
