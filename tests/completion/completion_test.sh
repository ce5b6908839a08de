#!/usr/bin/env bash
# What Tab gives: the completion script in a bash of its own, called as bash calls it.
# usage: completion_test.sh PROGRAM
set -u
program=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder" || exit 1
export XDG_CACHE_HOME=$folder/cache PATH=$(dirname "$program"):$PATH
mkdir runs
cat >config.json <<'JSON'
{
  "pipelines": {
    "main": [{"masker": "sink", "sink_size": 16}, {"masker": "oracle_top_k", "name": "topk", "heavy_size": 64}],
    "a+b": [{"masker": "local"}]
  },
  "input": {"workload": "gaussian", "keys": 128}
}
JSON
echo '{"pipelines": {"main": [{"masker": "snik"}]}}' >wrong.json

unset COMP_WORDBREAKS
COMP_WORDBREAKS=$' \t\n"\'><=;|&(:'
# shellcheck disable=SC1090
source <("$program" completion bash)
failures=0 checks=0

# completes LINE EXPECTED...: the candidates for the end of LINE. Bash's own words end at = and :.
completes() {
  COMP_LINE=$1 COMP_POINT=${#1}
  shift
  local spaced=${COMP_LINE//=/ = }
  read -ra COMP_WORDS <<<"${spaced//:/ : }"
  [[ $COMP_LINE == *' ' ]] && COMP_WORDS+=("")
  COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
  COMPREPLY=()
  _attnlab attnlab "${COMP_WORDS[COMP_CWORD]}" "" 2>errors
  checks=$((checks + 1))
  if [[ "${COMPREPLY[*]}" != "$*" || -s errors ]]; then
    failures=$((failures + 1))
    printf 'FAILED: %s\n  gives %s\n  wants %s\n' "$COMP_LINE" "${COMPREPLY[*]}" "$*"
    cat errors
  fi
}

completes "attnlab plu" plugin
completes "attnlab co" compare config completion
completes "attnlab config e" explain
completes "attnlab completion " bash
completes "attnlab help config sc" schema
completes "attnlab nonsense " 
completes "attnlab run --q" --queries --quiet
completes "attnlab run --thr" --threads
completes "attnlab run con" config.json
completes "attnlab run --out r" runs
completes "attnlab run --out=r" runs
completes "attnlab run --plugin=con" config.json
completes "attnlab run config.json --mode " prefill decode question
completes "attnlab run config.json --mode d" decode
completes "attnlab run config.json --mode=d" decode
completes "attnlab run --format j" json
completes "attnlab run config.json --queries "
completes "attnlab plugin info si" sink
completes "attnlab plugin schema oracle" oracle_top_k oracle_top_p
completes "attnlab config explain config.json /input/ke" /input/keys
# Pointers of the config, and "=" at once.
completes "attnlab run config.json --set /inp" /input/workload= /input/layers= /input/batch= /input/query_heads= /input/kv_heads= /input/queries= \
  /input/keys= /input/head_dim= /input/value_dim= /input/seed=
completes "attnlab run config.json --set /pipelines/main/1/h" /pipelines/main/1/heavy_size=
completes "attnlab run config.json --set /pipelines/main/topk/h" /pipelines/main/topk/heavy_size=
completes "attnlab run config.json --set /pipelines/a+b/0/w" /pipelines/a+b/0/window_size=
# Values, behind the = that ends a word of bash.
completes "attnlab run config.json --set /mode=" prefill decode question
completes "attnlab run config.json --set /mode=q" question
completes "attnlab run config.json --set=/mode=q" question
completes "attnlab run config.json --set /attention/causal=" true false
completes "attnlab run config.json --set /pipelines/main/topk/select=thr" threshold
completes "attnlab run config.json --set /pipelines/main/topk/heavy_size=2" 2% 20%
# Earlier overrides count: the pointers are those of the config that they make.
completes "attnlab run config.json --set /pipelines/main/1/select=top_p --set /pipelines/main/1/top"
completes "attnlab run config.json --set /pipelines/new/-/masker=sink --set /pipelines/new/0/si" /pipelines/new/0/sink_size=
# Mistakes complete to nothing and say nothing.
completes "attnlab run wrong.json --set /mode="
completes "attnlab run missing.json --set /mo"
completes "attnlab run config.json --thread 3 --set /mo"

start=$(date +%s%N)
completes "attnlab run config.json --set /pipelines/main/topk/h" /pipelines/main/topk/heavy_size=
took=$((($(date +%s%N) - start) / 1000000))
echo "$checks completions, $failures failures; one took $took ms"
[ "$failures" -eq 0 ]
