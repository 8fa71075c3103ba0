#!/bin/sh
# Grafana with dashboards whose links lead where the environment says: DAGSTER_URL, MLFLOW_URL, RUNBOOKS_URL (with "/" at
# its end); unset: the addresses the dashboards were built with. Provisioning has no variables inside dashboards.
set -eu
from="${DASHBOARDS_SOURCE:-/etc/litgo/dashboards}"
to="${DASHBOARDS_FOLDER:-/var/lib/grafana/dashboards}"

quoted() { printf '%s' "$1" | sed 's/[&|\\]/\\&/g'; }

mkdir -p "$to"
for file in "$from"/*.json; do
  sed -e "s|\"query\": \"http://localhost:3001\"|\"query\": \"$(quoted "${DAGSTER_URL:-http://localhost:3001}")\"|" \
      -e "s|\"query\": \"http://localhost:5000\"|\"query\": \"$(quoted "${MLFLOW_URL:-http://localhost:5000}")\"|" \
      -e "s|\"query\": \"https://litgo.example/\"|\"query\": \"$(quoted "${RUNBOOKS_URL:-https://litgo.example/}")\"|" \
      "$file" > "$to/${file##*/}"
done
exec "${GRAFANA_RUN:-/run.sh}" "$@"
