#!/bin/sh
# One Celery worker for the steps of LITGO's runs, until stopped; arguments go to celery (--hostname w1@%h). It needs the
# environment of the code location (databases, MLflow, keys, LITGO_HOME on the shared disk, DAGSTER_HOME with
# dagster.yaml), CELERY_BROKER_URL and CELERY_RESULT_BACKEND. WARNING: below it celery logs what steps return.
set -eu
PYTHONPATH="$(cd "$(dirname "$0")" && pwd)${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONPATH
exec python -m celery -A dagster_celery.app worker --queues dagster --loglevel WARNING \
    --concurrency "${WORKER_STEPS:-1}" "$@"
