#!/usr/bin/env bash
# Unpacks Prometheus and promtool of Debian unstable into .cache/prometheus. The tests compare with it, because it is
# newer than that of Debian stable. Nothing is installed, and the machine's apt lists and state do not change. The
# mirror is that of the machine's apt. When the packages cannot be fetched, prints the reason and exits with 1.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=.cache/prometheus

fail() {
  echo "newer-prometheus: $1" >&2
  exit 1
}

if [[ -x $folder/usr/bin/prometheus && -x $folder/usr/bin/promtool ]]; then
  "$folder/usr/bin/prometheus" --version | head -n 1
  exit 0
fi
command -v apt-get >/dev/null && command -v dpkg >/dev/null || fail "this is not Debian: apt-get or dpkg is missing"
# shellcheck disable=SC1091  # of the machine, not of this repository
suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
# shellcheck disable=SC2016  # apt's own placeholders
mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' |
  awk -v suite="$suite" '$2 == suite { print $1; exit }')
[[ -n $mirror ]] || fail "apt has no mirror of ${suite:-this release}"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/state/lists/partial" "$work/cache/archives/partial" "$work/root"
{
  printf 'Types: deb\nURIs: %s\nSuites: unstable\nComponents: main\n' "$mirror"
  keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  if [[ -r $keyring ]]; then echo "Signed-By: $keyring"; fi
} >"$work/unstable.sources"
own=(-qq -o "Dir::State=$work/state" -o "Dir::State::status=/dev/null" -o "Dir::Cache=$work/cache"
  -o "Dir::Etc::sourcelist=$work/unstable.sources" -o "Dir::Etc::sourceparts=-" -o "Acquire::Retries=2")
# Started as root, apt fetches as another user, who may not enter the folder.
own+=(-o "APT::Sandbox::User=$(id -un)")

apt-get "${own[@]}" update || fail "$mirror has no list of unstable"
(cd "$work" && apt-get "${own[@]}" download prometheus promtool 2>"$work/errors") ||
  fail "the packages cannot be fetched from $mirror: $(<"$work/errors")"
for package in "$work"/*.deb; do dpkg -x "$package" "$work/root"; done
"$work/root/usr/bin/prometheus" --version >/dev/null || fail "unstable's Prometheus does not run on this machine"
"$work/root/usr/bin/promtool" --version >/dev/null || fail "unstable's promtool does not run on this machine"
rm -rf "$folder"
mkdir -p "$folder/usr/bin"
mv "$work/root/usr/bin/prometheus" "$work/root/usr/bin/promtool" "$folder/usr/bin/"
"$folder/usr/bin/prometheus" --version | head -n 1
