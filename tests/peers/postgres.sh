# shellcheck shell=bash
# Two clusters of PostgreSQL: one that many tests share, each with a database of its own, and one that a test restarts. The server
# refuses to run as root. What it answers is on disk: fsync is on, as it is by default.

postgres_packages() { lacking '/usr/lib/postgresql/*/bin/postgres:postgresql'; }
postgres_install() { :; }

postgres_bin() { dirname "$(compgen -G '/usr/lib/postgresql/*/bin/postgres' | sort -V | tail -n 1)"; }

# postgres_cluster NAME PORT: makes and starts one; `control restart` ends it as a power cut would, and starts it again.
postgres_cluster() {
  local dir=$peers_dir/$1 bin owner=nobody
  bin=$(postgres_bin)
  if [ "$(id -u)" != 0 ]; then owner=$(id -un); fi
  mkdir -p "$dir"
  cp "$peers_dir/tls/server.pem" "$peers_dir/tls/server.key" "$dir"
  chmod 600 "$dir/server.key"
  echo secret >"$dir/password"
  cat >"$dir/control" <<END
#!/bin/sh
# start, stop or restart
if [ "\$(id -u)" = 0 ]; then
  exec setpriv --reuid $owner --regid \$(id -g $owner) --clear-groups "\$0" "\$@"
fi
cd "$dir" || exit
export LC_ALL=C.UTF-8
case \$1 in
  make) "$bin/initdb" -D data -U loudhailer --pwfile=password -A scram-sha-256 -E UTF8 --locale=C.UTF-8 ;;
  start) "$bin/pg_ctl" -D data -w -t 60 -l log start ;;
  stop) "$bin/pg_ctl" -D data -w -m fast stop ;;
  restart) "$bin/pg_ctl" -D data -w -t 60 -m immediate -l log restart ;;
esac
END
  chmod 755 "$dir/control"
  [ "$(id -u)" != 0 ] || chown -R "$owner" "$dir"
  "$dir/control" make >"$peers_dir/$1.log" 2>&1 || { cat "$peers_dir/$1.log"; return 1; }
  as_root tee -a "$dir/data/postgresql.conf" >/dev/null <<END
listen_addresses = '127.0.0.1'
port = $2
unix_socket_directories = ''
max_connections = 200
shared_buffers = 64MB
ssl = on
ssl_cert_file = '$dir/server.pem'
ssl_key_file = '$dir/server.key'
END
  "$dir/control" start >>"$peers_dir/$1.log" 2>&1 || { cat "$peers_dir/$1.log" "$dir/log"; return 1; }
}

postgres_start() {
  local port spare
  free_port port && free_port spare
  postgres_cluster postgres "$port" && postgres_cluster postgres_spare "$spare" || return 1
  export PEER_POSTGRES=127.0.0.1:$port PEER_POSTGRES_USER=loudhailer PEER_POSTGRES_PASSWORD=secret
  export PEER_POSTGRES_SPARE=127.0.0.1:$spare PEER_POSTGRES_SPARE_CONTROL=$peers_dir/postgres_spare/control
}

postgres_stop() {
  local cluster
  for cluster in postgres postgres_spare; do "$peers_dir/$cluster/control" stop >/dev/null 2>&1 || true; done
}
postgres_version() { echo "postgres $("$(postgres_bin)/postgres" --version | sed -E 's/[^0-9]*([0-9.]+).*/\1/')"; }
