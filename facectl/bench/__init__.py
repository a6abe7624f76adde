"""How long a camera waits, where the time goes, whether answers are right, and what they cost.

workload    which frames are sent when
recorder    a run by `facectl.stream`, with a sample kept of every frame
clocks      how far SQS's clock is from this computer's
stages      where a frame's time went
statistics  pure functions on raw samples
report      the figures of a run, its verdict, its JSON
"""
