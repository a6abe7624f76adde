"""Face detection on this computer: only crops go to the cloud, through a queue on disk.

endpoint      detects the faces of a frame with the functions' own code
disk_queue    the messages that SQS has not accepted yet
outbox        sends them, and reports to the runs what was accepted
transport     all of it as the transport of a run
earlier       takes the answers to what a killed process left on disk
memory        bounds the memory of the process
unit          a systemd unit that sends cameras
"""
