"""What the functions logged: read, followed, put together.

times     --since and --until
source    CloudWatch Logs → events: pages, throttling, groups that are not there
follow    events as they are logged, each once
parse     an event's text → a line that says what it is
select    which lines are wanted, and in which order
search    a request's lines; the newest and the slowest requests
evidence  what the lines tell of one request: POSTs, deliveries, ends
trace     the way of one request, its gaps attributed, and where it is now
report    what the platform's REPORT lines add up to
dead letters   the dead-letter queue: look without taking, give back, drop
"""
