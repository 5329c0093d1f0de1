"""What is durable, and under which key?

`store.Store` keeps records, weights and environments; `keys.case_key` digests all that can change a case's numbers, and
`sources.source_digest` the code and data files behind a component. Nothing here runs anything or judges.
"""
