#!/bin/sh
# Stands in for ptxas and nvdisasm, by its name: machine code is the target's name and the first line of the PTX that has one, its text says so.
case "$0" in
*ptxas)
  for argument; do
    case "$argument" in
    -arch=*) arch=${argument#-arch=} ;;
    *.ptx) input=$argument ;;
    *.cubin) output=$argument ;;
    esac
  done
  { echo "$arch"; grep -m 1 '^.target' "$input"; } >"$output" ;;
*nvdisasm)
  [ "$1" = -c ] && sed 's/^/disassembled: /' "$2" ;;
*)
  echo "nvdisasm fatal   : Unknown opcode" >&2
  echo "more words" >&2
  exit 255 ;;
esac
