# shellcheck shell=bash
# Chromium and its driver, only installed: each test starts its own.

chromium_packages() {
  lacking chromium:chromium chromedriver:chromium-driver \
    /usr/share/fonts/truetype/dejavu:fonts-dejavu-core /usr/share/fonts/truetype/lohit-devanagari:fonts-lohit-deva
}
chromium_install() { :; }
chromium_start() {
  PEER_CHROMIUM=$(command -v chromium) && PEER_CHROMEDRIVER=$(command -v chromedriver) || return 1
  export PEER_CHROMIUM PEER_CHROMEDRIVER
}
chromium_stop() { :; }
chromium_version() { echo "chromium $(chromium --version 2>/dev/null | grep -oE '[0-9.]+' | head -n 1 | cut -d. -f1)"; }
