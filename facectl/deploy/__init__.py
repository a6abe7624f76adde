"""Deploys the pipeline: models → desired → reader → planner → executor. Prints nothing.

models     the inputs of a plan as dataclasses; no I/O
resources  the kinds of resources, one module each: fields, desired state, reading, writing
desired    the resources that the options ask for; no I/O
reader     the actual resources; only reads
planner    the ordered steps from actual to desired; no I/O
executor   applies the steps; the only module that writes
"""
