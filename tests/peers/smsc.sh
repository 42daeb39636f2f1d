# shellcheck shell=bash
# The SMPP simulator that stands behind Kannel: smsc.rs, built with the tests.

smsc_packages() { :; }
smsc_install() { :; }
smsc_start() {
  local smpp control
  free_port smpp && free_port control
  background smsc "$target/release/examples/smsc" "127.0.0.1:$smpp" "127.0.0.1:$control"
  until_true smsc open_port "$control" || return 1
  export PEER_SMSC=127.0.0.1:$smpp PEER_SMSC_CONTROL=http://127.0.0.1:$control
}
smsc_stop() { end smsc; }
smsc_version() { :; }
