"""Latency of frames end to end, by stage; accuracy against labels; cost of frames.

workload    the schedule of the frames
recorder    times of every frame of a `facectl.stream` session
clocks      offset between SQS's clock and this computer's
stages      a frame's latency by stage
statistics  pure functions on raw samples
baseline    the platform alone: no-op functions beside the pipeline
report      the figures of a run, its verdict, its JSON and CSV
tables      the tables and sentences of a report, for the terminal and for HTML
page        the HTML report
"""
