"""From a wish to resources: models → reader → planner → executor.

models    what a deployment consists of; no I/O
desired   the resources that the options ask for; no I/O
reader    the resources as AWS has them; only reads
planner   the ordered steps between the two; no I/O
executor  carries the steps out; alone writes
"""
