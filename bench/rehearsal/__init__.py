"""Rehearsal: whether the paper's profile runs at all, before anybody has its data, its weights or its hardware.

A suite's rehearsal profile runs as any other does, on stand-ins of the files that it names: miniature trees and random weights
in the real formats and layouts. `stage.rehearse` makes them, runs, and throws all of it away.
"""
