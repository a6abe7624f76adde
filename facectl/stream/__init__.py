"""Sends frames to a deployment and collects their results.

sources → sender → delivery         frames to the Function URL
reply_queues                        a client's own queue of answers
responses → in_flight               answers matched to the frames they belong to
deadlines, outcomes                 when a frame's deadline passes, and its outcome
results, annotate                   the outcomes as a file, a table, a video
run_file                            the frames of a run on disk: for --resume and the video
session                             one run of `facectl send`, all of the above
cameras → shared → many             several runs in one process, fair slots, one reader of answers
tail, purge                         the queues without a run
"""
