"""Makes visits out of the answers to frames: who came, when, and when they left.

order                   answers in the order of their frames
images                  the sent images: sharpness, crops
following               which face of a frame belongs to which open visit
identity                whose visit it is, decided over its frames
tracker                 the open visits, and the events of their start, change and end
recorder, file          a run's outcomes in, the events written
event_queue, delivery   the events for a receiver, on disk until it has taken them
receivers               webhook, mqtt and command
outputs                 all of the above for one run
"""
