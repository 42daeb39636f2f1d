# shellcheck shell=bash
# NATS with JetStream: one port, with TLS and without, with a login. A test that stops a server starts its own.

nats_packages() { lacking /usr/sbin/nats-server:nats-server; }
nats_install() { :; }

nats_start() {
  local dir=$peers_dir/nats port
  free_port port
  mkdir -p "$dir"
  cat >"$dir/nats.conf" <<END
listen: "127.0.0.1:$port"
jetstream { store_dir: "$dir/streams" }
tls { cert_file: "$peers_dir/tls/server.pem", key_file: "$peers_dir/tls/server.key" }
allow_non_tls: true
authorization {
  users: [ { user: loudhailer, password: secret, permissions: { publish: { deny: "forbidden.>" } } } ]
}
END
  PEER_NATS_SERVER=$(PATH=$PATH:/usr/sbin command -v nats-server) || return 1
  background nats "$PEER_NATS_SERVER" -c "$dir/nats.conf"
  until_true nats open_port "$port" || return 1
  export PEER_NATS_SERVER PEER_NATS=127.0.0.1:$port PEER_NATS_USER=loudhailer PEER_NATS_PASSWORD=secret
}

nats_stop() { end nats; }
nats_version() { echo "nats $(/usr/sbin/nats-server --version | grep -oE '[0-9]+\.[0-9]+\.[0-9]+')"; }
