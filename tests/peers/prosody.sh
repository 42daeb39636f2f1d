# shellcheck shell=bash
# Prosody, an XMPP server for the domain localhost: STARTTLS, and TLS from the first byte. Rooms under rooms.localhost.

prosody_packages() { lacking /usr/bin/prosody:prosody; }
prosody_install() { :; }

prosody_start() {
  local dir=$peers_dir/prosody plain tls who as=()
  free_port plain && free_port tls
  mkdir -p "$dir/data" "$dir/certs"
  cp "$peers_dir/tls/server.key" "$peers_dir/tls/server.pem" "$dir"
  # What is made without a login of its own stays within the test: nobody is written to at other servers.
  cat >"$dir/prosody.cfg.lua" <<END
data_path = "$dir/data"
pidfile = "$dir/data/prosody.pid"
modules_enabled = { "roster"; "saslauth"; "tls"; "disco"; "ping"; "presence"; "message"; "iq"; "offline" }
modules_disabled = { "s2s" }
c2s_ports = { $plain }
c2s_interfaces = { "127.0.0.1" }
c2s_direct_tls_ports = { $tls }
c2s_direct_tls_interfaces = { "127.0.0.1" }
s2s_ports = { }
component_ports = { }
http_ports = { }
https_ports = { }
authentication = "internal_hashed"
-- The tests' own client reads without TLS.
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
ssl = { certificate = "$dir/server.pem"; key = "$dir/server.key" }
log = { info = "*console" }
VirtualHost "localhost"
VirtualHost "plain.localhost"
  disable_sasl_mechanisms = { "SCRAM-SHA-1"; "SCRAM-SHA-256" }
Component "rooms.localhost" "muc"
  restrict_room_creation = false
END
  # It does not run as root.
  if [ "$(id -u)" = 0 ]; then
    chown -R prosody "$dir"
    as=(setpriv --reuid=prosody --regid=prosody --clear-groups)
  fi
  for who in loudhailer@localhost reader@localhost loudhailer@plain.localhost; do
    "${as[@]}" prosodyctl --config "$dir/prosody.cfg.lua" register "${who%@*}" "${who#*@}" secret \
      >>"$dir/register.log" 2>&1 || return 1
  done
  background prosody "${as[@]}" prosody --config "$dir/prosody.cfg.lua" -F
  until_true prosody open_port "$plain" && until_true prosody open_port "$tls" || return 1
  export PEER_XMPP=127.0.0.1:$plain PEER_XMPP_TLS=127.0.0.1:$tls PEER_XMPP_PASSWORD=secret
}

prosody_stop() { end prosody; }
prosody_version() { echo "prosody $(dpkg-query -W -f '${Version}' prosody | grep -oE '^[0-9]+\.[0-9]+\.[0-9]+')"; }
