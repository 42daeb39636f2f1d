# shellcheck shell=bash
# What others receive with: Python's standardwebhooks, cloudevents and apprise behind receivers.py, and mastodon-mock, a server with
# Mastodon's API.

receivers_packages() { lacking python3:python3,python3-venv; }
receivers_install() {
  python3 -m venv "$peers_dir/receivers" && "$peers_dir/receivers/bin/pip" install -q standardwebhooks==1.1.0 cloudevents==2.2.0 \
    apprise==2.3.0 mastodon-mock==0.6.1 >"$peers_dir/receivers-install.log" 2>&1
}

receivers_start() {
  local port mastodon bin=$peers_dir/receivers/bin
  free_port port && free_port mastodon
  PEER_RECEIVERS_SECRET=whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD
  background receivers "$bin/python" tests/peers/receivers.py "$port" "$PEER_RECEIVERS_SECRET"
  background mastodon "$bin/mastodon_mock" serve --in-memory --host 127.0.0.1 --port "$mastodon"
  until_true receivers open_port "$port" && until_true mastodon open_port "$mastodon" || return 1
  export PEER_RECEIVERS=http://127.0.0.1:$port PEER_RECEIVERS_SECRET
  export PEER_MASTODON=http://127.0.0.1:$mastodon PEER_MASTODON_TOKEN=mock_token
}

receivers_stop() {
  end mastodon
  end receivers
}
receivers_version() { echo "standardwebhooks 1.1.0, cloudevents 2.2.0, apprise 2.3.0, mastodon-mock 0.6.1"; }
