# shellcheck shell=bash
# strace, only installed: a test watches the broker sync with it.

strace_packages() { lacking strace:strace; }
strace_install() { :; }
strace_start() {
  PEER_STRACE=$(command -v strace) || return 1
  export PEER_STRACE
}
strace_stop() { :; }
strace_version() { :; }
