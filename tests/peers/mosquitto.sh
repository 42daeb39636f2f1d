# shellcheck shell=bash
# Mosquitto, an MQTT broker: a plain port and one with TLS, both with a login. A test that stops a broker starts its own.

mosquitto_packages() { lacking /usr/sbin/mosquitto:mosquitto; }
mosquitto_install() { :; }

mosquitto_start() {
  local dir=$peers_dir/mosquitto plain tls
  free_port plain && free_port tls
  mkdir -p "$dir"
  mosquitto_passwd -b -c "$dir/logins" loudhailer secret
  # Started as root it reads its files as a user of its own.
  cp "$peers_dir/tls/server.key" "$peers_dir/tls/server.pem" "$dir"
  chmod 644 "$dir"/*
  cat >"$dir/mosquitto.conf" <<END
allow_anonymous false
password_file $dir/logins
max_queued_messages 0
listener $plain 127.0.0.1
listener $tls 127.0.0.1
certfile $dir/server.pem
keyfile $dir/server.key
END
  PEER_MOSQUITTO=$(PATH=$PATH:/usr/sbin command -v mosquitto) || return 1
  background mosquitto "$PEER_MOSQUITTO" -c "$dir/mosquitto.conf"
  until_true mosquitto open_port "$plain" && until_true mosquitto open_port "$tls" || return 1
  export PEER_MOSQUITTO PEER_MQTT=127.0.0.1:$plain PEER_MQTT_TLS=127.0.0.1:$tls
  export PEER_MQTT_USER=loudhailer PEER_MQTT_PASSWORD=secret
}

mosquitto_stop() { end mosquitto; }
mosquitto_version() { echo "mosquitto $(/usr/sbin/mosquitto -h | grep -oE '[0-9]+\.[0-9]+\.[0-9]+' | head -n 1)"; }
