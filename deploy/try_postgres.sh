#!/bin/sh
# Debian's PostgreSQL in place of its official image, for try_compose.sh: the same variables, volume and secret.
set -eu
data=/var/lib/postgresql/data
if [ ! -s $data/PG_VERSION ]; then
    # shellcheck disable=SC2086
    initdb --pgdata=$data --username=postgres --pwfile="$POSTGRES_PASSWORD_FILE" $POSTGRES_INITDB_ARGS >/dev/null
    echo "host all all all scram-sha-256" >>$data/pg_hba.conf
    # where podman lays its own file system over /run, nothing else can be mounted below it
    printf "listen_addresses = '*'\nunix_socket_directories = '/tmp'\n" >>$data/postgresql.conf
    pg_ctl --pgdata=$data --wait --options="-c listen_addresses=" start >/dev/null
    PGPASSWORD=$(cat "$POSTGRES_PASSWORD_FILE") createdb --username=postgres --host=/tmp "$POSTGRES_DB"
    pg_ctl --pgdata=$data --wait stop >/dev/null
fi
exec "$@" -D $data
