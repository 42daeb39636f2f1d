# shellcheck shell=bash
# RabbitMQ: a plain port, one with TLS, and the management API. Erlang's port mapper would outlive it, so it has one of its own.

rabbitmq_packages() { lacking /usr/lib/rabbitmq/bin/rabbitmq-server:rabbitmq-server; }
rabbitmq_install() { :; }

rabbitmq_start() {
  local dir=$peers_dir/rabbitmq plain tls admin mapper distribution
  free_port plain && free_port tls && free_port admin && free_port mapper && free_port distribution
  mkdir -p "$dir"
  cat >"$dir/rabbitmq.conf" <<END
listeners.tcp.1 = 127.0.0.1:$plain
listeners.ssl.1 = 127.0.0.1:$tls
ssl_options.cacertfile = $peers_dir/tls/ca.pem
ssl_options.certfile = $peers_dir/tls/server.pem
ssl_options.keyfile = $peers_dir/tls/server.key
ssl_options.verify = verify_none
ssl_options.fail_if_no_peer_cert = false
default_user = loudhailer
default_pass = secret
management.tcp.ip = 127.0.0.1
management.tcp.port = $admin
END
  echo '[rabbitmq_management].' >"$dir/enabled_plugins"
  background epmd epmd -address 127.0.0.1 -port "$mapper"
  background rabbitmq env HOME="$dir" ERL_EPMD_PORT="$mapper" RABBITMQ_DIST_PORT="$distribution" \
    RABBITMQ_NODENAME=peers@localhost RABBITMQ_CONFIG_FILE="$dir/rabbitmq" RABBITMQ_CONF_ENV_FILE=/dev/null \
    RABBITMQ_MNESIA_BASE="$dir/data" RABBITMQ_LOG_BASE="$dir/log" RABBITMQ_LOGS=- RABBITMQ_PID_FILE="$dir/pid" \
    RABBITMQ_ENABLED_PLUGINS_FILE="$dir/enabled_plugins" /usr/lib/rabbitmq/bin/rabbitmq-server
  until_true rabbitmq open_port "$plain" && until_true rabbitmq open_port "$tls" && until_true rabbitmq open_port "$admin" || return 1
  export PEER_RABBITMQ=127.0.0.1:$plain PEER_RABBITMQ_TLS=127.0.0.1:$tls PEER_RABBITMQ_ADMIN=127.0.0.1:$admin
  export PEER_RABBITMQ_USER=loudhailer PEER_RABBITMQ_PASSWORD=secret
}

rabbitmq_stop() { end rabbitmq && end epmd; }
rabbitmq_version() { echo "rabbitmq $(dpkg-query -Wf '${Version}' rabbitmq-server | grep -oE '^[0-9.]+')"; }
