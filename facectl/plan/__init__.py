"""What a number of cameras needs on AWS, what it costs, and how it behaves under bursts and faults.

inputs      cameras, settings of the functions, the curve of the day
times       service times: measured by `facectl bench --json`, or facectl's own figures
limits      the quotas and scaling rates of AWS, with their sources
formulas    concurrent executions, pollers, messages in flight, times to scale: pure functions
cost        the cost of a month by service, beside Amazon Rekognition and rented machines
changes     what each change saves
simulation  the pipeline on AWS in steps of a second: queues, cold starts, throttling, faults
local       every frame of the local cloud as its own event, on shared cores (SimPy)
planner     all of it for one load
tables      the tables and sentences of a plan, for the terminal and for HTML
page        the HTML report
"""
