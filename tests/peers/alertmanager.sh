# shellcheck shell=bash
# Alertmanager and its tool: installed only, the test starts its own.

alertmanager_packages() { lacking prometheus-alertmanager:prometheus-alertmanager amtool:prometheus-alertmanager; }
alertmanager_install() { :; }
alertmanager_start() {
  PEER_ALERTMANAGER=$(command -v prometheus-alertmanager) && PEER_AMTOOL=$(command -v amtool) || return 1
  export PEER_ALERTMANAGER PEER_AMTOOL
}
alertmanager_stop() { :; }
alertmanager_version() { echo "alertmanager $(prometheus-alertmanager --version 2>&1 | grep -oE 'version [0-9.]+' | head -n 1 | cut -d ' ' -f 2)"; }
