#!/bin/sh
# Makes the password that the `scale` profile's PostgreSQL and engines share, once: deploy/secrets/ is not under version control.
#
# The files are readable by all, because the containers' users are not known to this host; the folder is yours alone.
set -eu
folder="$(dirname "$0")/secrets"
if [ -e "$folder/postgres-password" ]; then
  echo "$folder is there already; remove it (and the volume \`postgres\`) for a new password"
  exit 0
fi
mkdir -m 0700 -p "$folder"
password=$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')
printf '%s' "$password" >"$folder/postgres-password"
printf '[state]\njournal_url = "postgresql://limbic:%s@postgres:5432/limbic"\n' "$password" >"$folder/engines.toml"
chmod 0644 "$folder/postgres-password" "$folder/engines.toml"
echo "made $folder/postgres-password and $folder/engines.toml"
