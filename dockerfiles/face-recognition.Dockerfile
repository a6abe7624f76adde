# The image of face-recognition. `facectl deploy --builder docker` makes the build context:
# requirements.txt, prune.py, entrypoint.sh, lambda_src/ and model/, the verified files of `facectl models build`.
ARG BASE_IMAGE=public.ecr.aws/docker/library/python:3.12-slim-bookworm

FROM ${BASE_IMAGE} AS packages
ARG PIP_INDEX_URL
WORKDIR /build
COPY requirements.txt ./
RUN python -m pip install --quiet --no-cache-dir --disable-pip-version-check --no-compile \
        --root-user-action ignore --only-binary :all: --require-hashes \
        --target python -r requirements.txt
# Compiled here, since a function can't write where its code is; unchecked, since the times of
# files do not survive the way into a function.
COPY prune.py ./
RUN python prune.py python \
    && cd python \
    && python -m compileall -q --invalidation-mode unchecked-hash .
COPY lambda_src task/lambda_src
RUN python -m compileall -q --invalidation-mode unchecked-hash task

FROM ${BASE_IMAGE}
COPY --from=packages /build/python /opt/python
COPY model /opt/facectl/model
COPY entrypoint.sh /opt/facectl/entrypoint.sh
COPY --from=packages /build/task /var/task
ENV PYTHONPATH=/var/task:/opt/python \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp
WORKDIR /var/task
USER 1000:1000
ENTRYPOINT ["/bin/sh", "/opt/facectl/entrypoint.sh"]
CMD ["lambda_src.recognition.handler"]
