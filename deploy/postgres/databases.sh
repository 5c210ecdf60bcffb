#!/usr/bin/env bash
# One database and one role for each service; no role reaches another's database.
# Run once by the PostgreSQL image when its volume is empty.
set -euo pipefail

for service in cases notify sharing; do
    psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --set=service="$service" --set=secret="${service^^}_DATABASE_PASSWORD" \
        --username="${POSTGRES_USER:-postgres}" --dbname=postgres <<'SQL'
\getenv password :secret
CREATE ROLE :"service" LOGIN PASSWORD :'password';
CREATE DATABASE :"service" OWNER :"service";
REVOKE ALL ON DATABASE :"service" FROM PUBLIC;
SQL
done
