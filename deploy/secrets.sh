#!/bin/sh
# Makes the secret files that compose.yaml mounts and that are not there yet: random ones for what only we use, empty ones
# for what others give (an empty one turns the service off). Usage: deploy/secrets.sh [FOLDER]
set -eu
folder=${1:-$(dirname "$0")/secrets}
mkdir -p "$folder"
chmod 700 "$folder"   # the files are mounted one by one into containers of several users, so they are readable in there
cd "$folder"
make() { [ -e "$1" ] || { cat >"$1"; chmod 444 "$1"; }; }
for name in postgres_password litgo_pipelines_password litgo_exporter_password litgo_office_password \
    litgo_backup_password backup_passphrase litgo_dagster_password litgo_mlflow_password mlflow_admin_password mlflow_password mlflow_secret_key ui_session_key grafana_password; do
    od -An -N24 -tx1 /dev/urandom | tr -d ' \n' | make "$name"
done
for name in openai_api_key docusign_private_key onesignal_api_key sendgrid_api_key smtp_password alert_webhook_token ui_users; do
    make "$name" </dev/null
done
