"""Which cases are open, and how do they run?

`plan.make_plan` turns cases into stages and finds those that the store lacks, `executor.execute` runs them here or in worker
processes, or through an engine on other machines (`remote.Remote`, `agent.serve`), `stage.run_stage` is what happens to one of
them; the driver alone writes the store.
"""
