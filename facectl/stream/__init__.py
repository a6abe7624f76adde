"""Frames in, results out.

sources → sender → delivery        frames to the Function URL
responses → tracker                 answers matched to the frames they belong to
deadlines, outcomes                when a frame's time is over, and what became of it
results, annotate                  what is made of them
journal                            what a killed run is gone on with
session                            one run of `facectl send`, all of the above
tail, purge                        the queues without a run
"""
