# shellcheck shell=bash
# An SMS centre on npm's smpp, for our own driver: a plain port and one with TLS.

smpp_packages() { lacking node:nodejs npm:npm; }
smpp_install() { npm install --silent --no-audit --no-fund --prefix "$peers_dir/smpp" smpp@0.5.1 >"$peers_dir/smpp-install.log" 2>&1; }

smpp_start() {
  local plain tls control
  free_port plain && free_port tls && free_port control
  CERTIFICATE=$peers_dir/tls/server.pem KEY=$peers_dir/tls/server.key NODE_PATH=$peers_dir/smpp/node_modules \
    background smpp node tests/peers/smpp.js "$plain" "$tls" "$control"
  until_true smpp open_port "$control" && until_true smpp open_port "$tls" || return 1
  export PEER_SMPP=127.0.0.1:$plain PEER_SMPP_TLS=127.0.0.1:$tls PEER_SMPP_CONTROL=http://127.0.0.1:$control
}

smpp_stop() { end smpp; }
smpp_version() { echo "npm smpp 0.5.1"; }
