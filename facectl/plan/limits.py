"""The quotas and scaling rates of AWS that a plan is checked against.

Sources, read on 2026-11-28:
[scaling] https://docs.aws.amazon.com/lambda/latest/dg/scaling-behavior.html
[quotas] https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
[sqs-scaling] https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html
[pollers] https://docs.aws.amazon.com/lambda/latest/api/API_ProvisionedPollerConfig.html
[provisioned] https://aws.amazon.com/blogs/aws/aws-lambda-enhances-sqs-processing-with-new-provisioned-mode-3x-faster-scaling-16x-higher-capacity
[sqs-quotas] https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-queues.html
[s3] https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html
"""

from __future__ import annotations

# New execution environments of one function per second: 1,000 every 10 seconds [scaling].
ENVIRONMENTS_PER_SECOND = 100.0
# Concurrent executions of an account without a request; "tens of thousands" on request [quotas].
DEFAULT_CONCURRENCY = 1000
# Executions that can't be reserved for a function [quotas].
UNRESERVED = 100
# Invocations a second per concurrent execution [scaling].
REQUESTS_PER_EXECUTION = 10
# An event source mapping of SQS: batches at the start, more of them per minute, and at most
# [sqs-scaling]. An earlier text of the same page says at most 1,000.
FIRST_BATCHES = 5
BATCHES_PER_MINUTE = 300.0
MOST_BATCHES = 1250
# `ScalingConfig.MaximumConcurrency`: 2 to 1,000.
MOST_MAX_CONCURRENCY = 1000
# Provisioned pollers: invocations at once and MB a second of each, more invocations per minute,
# and at most [sqs-scaling, pollers, provisioned].
BATCHES_PER_POLLER = 10
POLLER_MB_PER_SECOND = 1.0
POLLER_BATCHES_PER_MINUTE = 1000.0
MOST_POLLERS = 10_000
MOST_LEAST_POLLERS = 200
# Messages of a standard queue that are received and not deleted [sqs-quotas].
MESSAGES_IN_FLIGHT = 120_000
# Bytes of a synchronous invocation [quotas].
PAYLOAD_BYTES = 6 * 1024 * 1024
# Of one prefix of a bucket [s3].
S3_GETS_PER_SECOND = 5500
# Deliveries of a message before it is a dead letter, as `facectl deploy` sets it.
MAX_RECEIVES = 5
# Seconds between two checks for a new gallery by one environment (lambda_src/settings.py).
GALLERY_REFRESH = 5.0
