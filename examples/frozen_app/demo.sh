#!/bin/sh
# Builds app.py into one binary and runs it where no Python can be reached.
# Needs a Python with earlyfork and PyInstaller installed: PYTHON=... (default: python3).
set -eu

here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python3}
tmp=$(mktemp -d "${TMPDIR:-/tmp}/earlyfork-demo.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM HUP

"$python" -c 'import importlib.util as u, sys
missing = [name for name in ("earlyfork", "PyInstaller") if not u.find_spec(name)]
if missing: sys.exit(f"{sys.executable} has no {missing}: pip install earlyfork pyinstaller")'

echo "== pyinstaller --onefile app.py"
if ! (cd "$here" && PYINSTALLER_CONFIG_DIR="$tmp/config" "$python" -m PyInstaller --onefile app.py --log-level WARN \
    --distpath "$tmp/dist" --workpath "$tmp/build" --specpath "$tmp") >"$tmp/log" 2>&1; then
    cat "$tmp/log" >&2
    exit 1
fi
echo "one file of $(($(wc -c <"$tmp/dist/app") / 1024)) KiB"

# Fails when a run leaves something where the binary unpacks itself.
nothing_left() {
    if [ -n "$(ls -A "$1")" ]; then
        echo "left behind: $(ls -A "$1")" >&2
        exit 1
    fi
}

echo
echo "== run with an empty environment"
mkdir "$tmp/unpack"
env -i PATH= TMPDIR="$tmp/unpack" "$tmp/dist/app" </dev/null
nothing_left "$tmp/unpack"

echo
if [ "$(id -u)" != 0 ] || ! chroot / /bin/true 2>/dev/null; then
    echo "== skipped: the run in a chroot without Python, /proc and /dev needs root"
    exit 0
fi
echo "== run in a chroot that holds the binary, the C library and a writable /tmp, nothing else"
root=$tmp/root
mkdir -p "$root/tmp"
cp "$tmp/dist/app" "$root/app"
libraries=$(ldd "$tmp/dist/app" | grep -o '/[^ ]*')
# libm belongs to the C library, so it is never packed; the binary itself does without.
libm=$(printf '%s\n' "$libraries" | sed -n 's|/libc\.so\.6$|/libm.so.6|p')
for library in $libraries $libm; do
    mkdir -p "$root${library%/*}"
    cp -L "$library" "$root$library"
done
(cd "$root" && find . -type f)
env -i PATH= TMPDIR=/tmp "$(command -v chroot)" "$root" /app </dev/null
nothing_left "$root/tmp"
