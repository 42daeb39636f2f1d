# shellcheck shell=bash
# npm's emulate: servers that answer as Slack, Twilio and Resend do, and show what they took. It wants a newer Node than Debian's.

emulate_packages() { lacking node:nodejs npm:npm; }
emulate_install() {
  npm install --silent --no-audit --no-fund --prefix "$peers_dir/emulate" node@24 emulate@0.12.2 >"$peers_dir/emulate-install.log" 2>&1
}

emulate_start() {
  local dir=$peers_dir/emulate port
  PEER_TWILIO_ACCOUNT=AC00000000000000000000000000000000 PEER_TWILIO_TOKEN=twilio-secret PEER_TWILIO_FROM=+15551234567
  # Three ports in a row, one a platform.
  free_port port
  while open_port $((port + 1)) || open_port $((port + 2)); do free_port port; done
  cat >"$dir/seed.yaml" <<END
slack:
  team: { name: Loudhailer, domain: loudhailer }
  channels: [{ name: alerts }]
  users: [{ name: operations, real_name: Operations, email: operations@example.test }]
twilio:
  account: { sid: $PEER_TWILIO_ACCOUNT, auth_token: $PEER_TWILIO_TOKEN, friendly_name: Loudhailer }
  phone_numbers: [{ phone_number: "$PEER_TWILIO_FROM", friendly_name: alerts }]
resend: {}
END
  background emulate "$dir/node_modules/node/bin/node" "$dir/node_modules/.bin/emulate" \
    --service slack,twilio,resend --port "$port" --seed "$dir/seed.yaml"
  until_true emulate grep -q Ready "$peers_dir/emulate.log" || return 1
  export PEER_SLACK=http://127.0.0.1:$port PEER_TWILIO=http://127.0.0.1:$((port + 1)) PEER_RESEND=http://127.0.0.1:$((port + 2))
  export PEER_TWILIO_ACCOUNT PEER_TWILIO_TOKEN PEER_TWILIO_FROM
}

emulate_stop() { end emulate; }
emulate_version() { echo "npm emulate 0.12.2"; }
