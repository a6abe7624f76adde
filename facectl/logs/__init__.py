"""Reads the functions' logs in CloudWatch, traces requests, and handles the dead-letter queue.

times            values of --since and --until
source           CloudWatch Logs as events: pages with retries, and Live Tail
follow           new events by both, each exactly once
parse            an event as a typed line
read             lines of both functions, merged and filtered
search           requests by id, prefix or time
request_events   POSTs, deliveries and failures of one request
request_state    where a request is now
timeline, trace  the steps of a request and what the time between them was spent on
report           figures from the platform's REPORT lines
dead_letters     peek at, redrive and delete dead letters
failure_reasons  why a message became a dead letter
"""
