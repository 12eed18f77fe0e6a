#!/usr/bin/env bash
# Starts the SC after repairing its metadata, if it must.
#
# The SC keeps topics, partitions, SPUs and SmartModules as one YAML file each. When something changes, and for
# partitions that is several times a second, it empties the file and then writes it. Killed in between, it
# leaves an empty file, and with one empty file it does not load any of that kind again: the topics have no
# partitions any more. Seen when SC and SPUs are stopped at the same moment, as in a reboot of the host.
#
# So complete files are copied aside every few seconds, and an empty one is replaced by its copy. An empty
# partition without a copy is removed: the SC makes it again from its topic, and the SPU still has the data.
set -euo pipefail

metadata=${FLUVIO_METADATA:-/var/lib/fluvio/metadata}
copies=${FLUVIO_METADATA_COPIES:-/var/lib/fluvio/metadata-copies}
copy_every_s=${COPY_EVERY_S:-5}

files_of() {
    (cd "$1" && find . -type f -name '*.yaml' "${@:2}" -printf '%P\n')
}

repair() {
    local file
    while read -r file; do
        if [ -s "$copies/$file" ]; then
            cp "$copies/$file" "$metadata/$file"
            echo "$file was empty: restored from its copy"
        elif [[ $file == Partition/* ]]; then
            rm "$metadata/$file"
            echo "$file was empty: removed, to be made again from its topic"
        else
            echo "error: $metadata/$file is empty and has no copy; restore it, or remove it and create it again" >&2
            exit 1
        fi
    done < <(files_of "$metadata" -empty)
}

copy() {
    local file
    while read -r file; do
        if [ "$copies/$file" -nt "$metadata/$file" ]; then continue; fi
        mkdir -p "$copies/${file%/*}"
        # The file may be empty by now, or gone.
        cp "$metadata/$file" "$copies/$file.new" 2>/dev/null || continue
        if [ -s "$copies/$file.new" ]; then mv "$copies/$file.new" "$copies/$file"; fi
    done < <(files_of "$metadata" -not -empty)
}

mkdir -p "$metadata" "$copies"
repair
while sleep "$copy_every_s"; do copy; done &
exec fluvio-run sc --local "$metadata" "$@"
