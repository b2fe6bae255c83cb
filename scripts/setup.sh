#!/usr/bin/env bash
# Makes this machine ready for a make target: system packages, and ntvl with its tools in .venv.
#
#   scripts/setup.sh            .venv only
#   scripts/setup.sh demo       and the packages that scripts/packages.txt lists for `make demo`; test and bench likewise
#
# As root it installs what is missing with apt-get; otherwise it names it. The second run finds everything and says nothing:
# .venv/setup-stamp holds what .venv was made from. PYTHON=/path/to/python3 chooses the interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
purpose=${1:-}
stamp=.venv/setup-stamp
log=.cache/setup.log
export PATH="$PATH:/usr/sbin:/sbin" DEBIAN_FRONTEND=noninteractive

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# Runs a command with its output in the log; shows the end of it when the command fails.
logged() {
    mkdir -p .cache
    if ! "$@" >"$log" 2>&1; then
        tail -n 15 "$log" >&2
        return 1
    fi
}

apt_install() {
    say "installing system packages: $*"
    logged apt-get update || say "apt-get update failed (above); trying with the package lists as they are"
    local package
    for package; do # Ubuntu has no chromium: the other tests shall run all the same
        shift
        if [ "$purpose" = test ] && ! LC_ALL=C apt-cache policy "$package" | grep -q 'Candidate: [0-9]'; then
            say "this system has no package $package: tests that need it will be skipped"
        else
            set -- "$@" "$package"
        fi
    done
    [ $# -gt 0 ] || return 0
    # The tests start tinyproxy, coturn and the like themselves: their packages shall start nothing on this machine.
    local policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy"
        # shellcheck disable=SC2064 # the path as it is now
        trap "rm -f $policy" EXIT
    fi
    logged apt-get install -y --no-install-recommends "$@" ||
        die "apt-get could not install: $* (its last words are above, all of them in $log); install them and run again"
}

missing_packages() {
    local program package purposes
    while read -r program package purposes; do
        case $program in '' | '#'*) continue ;; esac
        purposes=${purposes%%  *} # two spaces end the list
        case " $purposes " in *" $purpose "*) ;; *) continue ;; esac
        command -v "$program" >/dev/null || printf '%s\n' "$package"
    done <scripts/packages.txt | sort -u | tr '\n' ' '
}

find_python() {
    local python
    for python in ${PYTHON:-python3 python3.11 python3.12 python3.13 python3.14}; do
        if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            command -v "$python"
            return
        fi
    done
    return 1
}

make_venv() {
    local python version
    python=$(find_python) || die "no Python 3.11 or newer found (looked for ${PYTHON:-python3, python3.11 .. python3.14}):" \
        "install one, on Debian 12 or Ubuntu 24.04 and newer by 'apt-get install python3 python3-venv', or name it: make PYTHON=/path/to/python3"
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    if ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
        if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
            die "$python cannot make virtual environments: install its venv module, on Debian and Ubuntu by 'apt-get install python$version-venv'"
        fi
        apt_install "python$version-venv"
    fi
    if ! .venv/bin/python -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
        say "making .venv with $python ($version)"
        "$python" -m venv --clear .venv
    fi
    say "installing ntvl and its tools into .venv; the first time takes a minute or two"
    mkdir -p .cache
    .venv/bin/python -m pip install --disable-pip-version-check --progress-bar off -e '.[dev]' 2>&1 | tee "$log" |
        sed -nu 's/^Collecting \([^ ]*\).*/setup:   \1/p; s/^Installing collected packages.*/setup:   unpacking/p; s/^ERROR: /setup: /p' >&2 ||
        die "pip could not install ntvl and its tools (all it said is in $log); check the network and run again"
    printf '%s\n' "$wanted" >"$stamp"
}

if [ -n "$purpose" ]; then
    packages=$(missing_packages)
    if [ -n "$packages" ]; then
        if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
            # shellcheck disable=SC2086 # a list of words
            apt_install $packages
        elif [ "$purpose" = test ]; then
            say "without these packages some tests will be skipped: $packages(install them, or run as root, which does)"
        else
            die "make $purpose needs these packages: $packages(install them, or run as root, which does with apt-get)"
        fi
    fi
fi

wanted=$(printf '%s in %s' "$(sha256sum <pyproject.toml | cut -c1-64)" "$root")
if [ ! -x .venv/bin/python ] || [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    make_venv
    say "done"
fi
