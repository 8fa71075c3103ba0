"""Settings of the Celery workers, which `celery -A dagster_celery.app worker` finds under this name on its PYTHONPATH.

A file of Python instead of `dagster-celery worker start -y`: that one falls back to a RabbitMQ on localhost without a
word where the YAML is nested wrongly, and writes the broker's URL, password included, to a file under DAGSTER_HOME.
"""

import os

# A worker without a broker must not start. Celery reads both variables by itself, the executor's side too.
broker_url = os.environ["CELERY_BROKER_URL"]
result_backend = os.environ["CELERY_RESULT_BACKEND"]
result_expires = 86_400

# Longer than the longest step, else Redis gives a step that waits behind a long one to a second worker as well.
broker_transport_options = {"visibility_timeout": 21_600}
worker_prefetch_multiplier = 1
worker_disable_prefetch = True  # a step waits in Redis, where any worker can take it, not behind another step
broker_connection_retry_on_startup = True

task_time_limit = 14_400  # as run_monitoring's maximum: no step outlives its run by more
worker_max_tasks_per_child = 50  # a step's libraries stay loaded for the next; what it leaks does not
worker_send_task_events = False
