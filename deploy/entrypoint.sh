#!/bin/sh
# Secrets from files to where the processes look for them, then the command.
#
# NAME_FILE=path becomes NAME; a file that is empty or absent leaves NAME as it is. DATABASE_ROLES, like "litgo_dagster
# litgo_mlflow", names the roles whose passwords libpq finds in PGPASSFILE, so that no database URL holds one.
set -eu
umask 077
secrets=${SECRETS_FOLDER:-/run/secrets}

for name in OPENAI_API_KEY DOCUSIGN_PRIVATE_KEY ONESIGNAL_API_KEY SENDGRID_API_KEY \
    LITGO_UI_USERS LITGO_UI_SESSION_KEY MLFLOW_TRACKING_PASSWORD MLFLOW_AUTH_ADMIN_PASSWORD MLFLOW_FLASK_SERVER_SECRET_KEY; do
    eval "file=\${${name}_FILE:-}"
    if [ -n "$file" ] && [ -s "$file" ]; then
        value=$(cat "$file")
        export "$name=$value"
    fi
done

if [ -n "${DATABASE_ROLES:-}" ]; then
    : >"$PGPASSFILE"
    for role in $DATABASE_ROLES; do
        password=$(sed 's/[\\:]/\\&/g' "$secrets/${role}_password")
        printf '*:*:*:%s:%s\n' "$role" "$password" >>"$PGPASSFILE"
    done
fi

# Dagster writes beside its configuration. Where there is one already, as the Helm chart mounts it, that one counts.
if [ -n "${DAGSTER_HOME:-}" ] && [ ! -e "$DAGSTER_HOME/dagster.yaml" ]; then
    mkdir -p "$DAGSTER_HOME"
    cp "$(dirname "$0")/../litgo_pipelines/runtime/dagster.yaml" "$DAGSTER_HOME/"
fi

exec "$@"
