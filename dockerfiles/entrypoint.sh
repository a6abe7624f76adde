#!/bin/sh
# Lambda sets AWS_LAMBDA_RUNTIME_API. Elsewhere AWS's Runtime Interface Emulator
# stands in for it, where the base image has one.
set -eu
if [ -z "${AWS_LAMBDA_RUNTIME_API:-}" ] && command -v aws-lambda-rie >/dev/null; then
    exec aws-lambda-rie python -m awslambdaric "$@"
fi
exec python -m awslambdaric "$@"
