# shellcheck shell=bash
# What judges docs/asyncapi.json: the meta-schema of AsyncAPI 3 that npm's @asyncapi/specs ships, and what stands on the topics by the
# document's own schemas. `asyncapi` reads records and prints what is wrong, as the head of asyncapi.js says.

asyncapi_packages() { lacking node:nodejs npm:npm; }
asyncapi_install() {
  npm install --silent --no-audit --no-fund --prefix "$peers_dir/asyncapi" \
    @asyncapi/specs@6.11.1 ajv@8.17.1 ajv-formats@3.0.1 >"$peers_dir/asyncapi-install.log" 2>&1 ||
    { tail -n 20 "$peers_dir/asyncapi-install.log"; return 1; }
}

asyncapi_start() {
  cat >"$peers_dir/asyncapi/asyncapi" <<END
#!/bin/sh
NODE_PATH="$peers_dir/asyncapi/node_modules" exec node "$PWD/tests/peers/asyncapi.js" "$PWD/docs/asyncapi.json"
END
  chmod 755 "$peers_dir/asyncapi/asyncapi"
  export PEER_ASYNCAPI=$peers_dir/asyncapi/asyncapi
}

asyncapi_stop() { :; }
asyncapi_version() { echo "npm @asyncapi/specs 6.11.1, ajv 8.17.1"; }
