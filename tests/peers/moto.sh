# shellcheck shell=bash
# moto, which answers as Amazon SNS and SES do, and checks signatures. Its key may publish and send, and example.org is verified.

moto_packages() { lacking python3:python3,python3-venv; }
moto_install() {
  python3 -m venv "$peers_dir/moto" && "$peers_dir/moto/bin/pip" install -q 'moto[server]==5.2.5' >"$peers_dir/moto-install.log" 2>&1
}

moto_start() {
  local port key
  free_port port
  INITIAL_NO_AUTH_ACTION_COUNT=1000 background moto "$peers_dir/moto/bin/moto_server" -H 127.0.0.1 -p "$port"
  until_true moto open_port "$port" || return 1
  key=$("$peers_dir/moto/bin/python" tests/peers/moto.py "http://127.0.0.1:$port") || return 1
  export PEER_AWS=http://127.0.0.1:$port PEER_AWS_KEY=${key% *} PEER_AWS_SECRET=${key#* }
}

moto_stop() { end moto; }
moto_version() { echo "moto 5.2.5"; }
