"""Deploys the pipeline: models → desired → reader → planner → executor. Prints nothing.

models    the resources of a deployment as dataclasses; no I/O
desired   the resources that the options ask for; no I/O
reader    the actual resources; only reads
planner   the ordered steps from actual to desired; no I/O
executor  applies the steps; the only module that writes
"""
